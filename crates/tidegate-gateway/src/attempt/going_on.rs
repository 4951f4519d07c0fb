//! How a target is asked to go on with an answer that broke off elsewhere: with what was said as the beginning of its own
//! answer, where it is known to take that, else anew. Made by the relay, rendered by `prepare`.

use tidegate_wire::Continuation;
use tidegate_wire::continuation::{Asked, Obstacle};
use tidegate_wire::conversation::{Content, Conversation, OutputFormat, Part, Role, ToolChoice, Turn};

use crate::plan::Planned;

/// What is known of an answer that is to be gone on with.
#[derive(Debug)]
pub(crate) struct GoingOn {
    /// The conversation that ends with what was said, and that text.
    begun: Option<(Conversation, String)>,
    /// Whether the answer's text is JSON.
    is_json: bool,
}

impl GoingOn {
    /// An answer to this conversation of which so much was said. `said` is its text, where it is text alone.
    pub(crate) fn new(
        conversation: &Conversation,
        said: Option<String>,
        tokens_said: u64,
    ) -> Result<Self, Obstacle> {
        if conversation.choices.is_some_and(|choices| choices > 1) {
            return Err(Obstacle::SeveralChoices);
        }
        if conversation.logprobs.is_some() {
            return Err(Obstacle::Logprobs);
        }
        if conversation.modalities.iter().any(|modality| modality != "text") {
            return Err(Obstacle::Media);
        }
        let is_json = conversation.output != OutputFormat::Text;
        // What must fit a schema, or must be a call, is made so by the provider from its first token on.
        let is_free = !is_json
            && !matches!(
                conversation.tool_choice,
                Some(
                    ToolChoice::Required
                        | ToolChoice::Function(_)
                        | ToolChoice::Allowed { required: true, .. }
                )
            );
        let begun = said.filter(|_| is_free).map(|said| (begun_with(conversation, &said, tokens_said), said));
        Ok(Self { begun, is_json })
    }

    /// How this target was asked, with the beginning of its answer or without.
    pub(super) fn asked(&self, planned: &Planned, has_beginning: bool) -> Asked {
        let is_repeated = planned.target.traits.continuation == Continuation::Prefix;
        match self.begun.as_ref().filter(|_| has_beginning) {
            None => Asked::Anew { is_json: self.is_json },
            Some((_, text)) => Asked::ToContinue { text: text.clone(), is_repeated },
        }
    }

    /// The conversation with the beginning of its answer, for targets that take it.
    pub(super) fn begun(&self, planned: &Planned) -> Option<&Conversation> {
        let begun = self.begun.as_ref().filter(|_| planned.target.takes_beginnings());
        begun.map(|(conversation, _)| conversation)
    }
}

fn begun_with(conversation: &Conversation, said: &str, tokens_said: u64) -> Conversation {
    let mut begun = conversation.clone();
    // What was said counts against what the caller wants to pay for.
    begun.max_output_tokens = begun.max_output_tokens.map(|most| most.saturating_sub(tokens_said).max(1));
    match begun.turns.last_mut().filter(|last| last.role == Role::Assistant) {
        // The caller had begun the answer itself.
        Some(last) => match last.parts.last_mut().map(|part| &mut part.content) {
            Some(Content::Text { text, .. }) => text.push_str(said),
            _ => last.parts.push(Part::text(said)),
        },
        None => begun.turns.push(Turn::new(Role::Assistant, vec![Part::text(said)])),
    }
    begun
}
