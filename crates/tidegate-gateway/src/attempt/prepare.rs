//! What is sent to a target: the caller's own bytes where it speaks the caller's dialect, else a translation.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderValue, Method, Request, Uri};
use tidegate_wire::continuation::{Asked, Obstacle};
use tidegate_wire::conversation::Conversation;
use tidegate_wire::json::JsonText;
use tidegate_wire::splice::Splice;
use tidegate_wire::{Dialect, Losses, RequestOptions, anthropic, gemini};

use super::going_on::GoingOn;
use crate::accept::{Call, Operation};
use crate::error::GatewayError;
use crate::plan::{Plan, Planned, STEERING_MEMBERS, Steering};
use crate::upstream::UpstreamBody;

/// A call as targets of other dialects see it: parsed when the first of them needs it, and not before.
#[derive(Debug)]
pub(crate) struct Translation<'a> {
    pub(crate) call: &'a Call,
    conversation: OnceLock<Result<Conversation, GatewayError>>,
    /// What a stream sends is remembered, since somebody could go on with it.
    pub(crate) is_remembered: bool,
    /// An answer that only refuses the content is a failure, since others may be asked about it.
    pub(crate) withholds_refusals: bool,
    /// The answer has begun elsewhere.
    pub(crate) going_on: Option<GoingOn>,
}

impl<'a> Translation<'a> {
    pub(crate) fn new(call: &'a Call) -> Self {
        Self {
            call,
            conversation: OnceLock::new(),
            is_remembered: false,
            withholds_refusals: false,
            going_on: None,
        }
    }

    /// The same for targets that go on with an answer of which so much was said.
    pub(crate) fn to_go_on(call: &'a Call, said: Option<String>, tokens_said: u64) -> Result<Self, Obstacle> {
        let mut translation = Self::new(call);
        let conversation = translation.conversation().map_err(|_error| Obstacle::Unreadable)?;
        translation.going_on = Some(GoingOn::new(conversation, said, tokens_said)?);
        Ok(translation)
    }

    /// How this target was asked to go on.
    pub(crate) fn asked(&self, planned: &Planned, has_beginning: bool) -> Asked {
        match &self.going_on {
            Some(going_on) => going_on.asked(planned, has_beginning),
            None => Asked::Anew { is_json: false },
        }
    }

    /// The conversation with the beginning of its answer, for a target that goes on with one.
    pub(super) fn begun(&self, planned: &Planned) -> Option<&Conversation> {
        self.going_on.as_ref().and_then(|going_on| going_on.begun(planned))
    }

    /// The call in the canonical model.
    pub(crate) fn conversation(&self) -> Result<&Conversation, GatewayError> {
        self.conversation
            .get_or_init(|| {
                let codec = self.call.dialect.codec();
                match (self.call.operation, self.call.dialect) {
                    (Operation::CountTokens, Dialect::AnthropicMessages) => {
                        anthropic::parse_count_request(self.call.body())
                    }
                    (Operation::CountTokens, Dialect::Gemini) => {
                        gemini::parse_count_request(self.call.body(), &self.call.model)
                    }
                    _ => codec.parse_request(self.call.body(), self.call.path_facts()),
                }
                .map(|mut conversation| {
                    // They have been heeded, and would be reported as lost.
                    if self.wishes_in_body().is_some() {
                        for member in STEERING_MEMBERS {
                            conversation.rest.shift_remove(member);
                        }
                    }
                    conversation
                })
                .map_err(GatewayError::from)
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Whether the caller's bytes may go to this target as they are.
    pub(crate) fn passes_through(&self, planned: &Planned) -> bool {
        planned.dialect() == self.call.dialect && !self.call.is_carrying
    }

    /// What the target could not express.
    pub(crate) fn losses(&self, planned: &Planned) -> Result<Losses, GatewayError> {
        self.body(planned, self.begun(planned)).map(|(_, losses)| losses)
    }

    fn body(
        &self,
        planned: &Planned,
        begun: Option<&Conversation>,
    ) -> Result<(Vec<Bytes>, Losses), GatewayError> {
        let note_unheeded = |mut losses: Losses| {
            let wishes = self.wishes_dropped_for(planned);
            for field in wishes.iter().flat_map(|wishes| &wishes.for_others) {
                losses.push(field.clone());
            }
            losses
        };
        if begun.is_none() && self.passes_through(planned) {
            return Ok((self.spliced(planned), note_unheeded(Losses::new())));
        }
        let call = self.call;
        let options = RequestOptions {
            model: &planned.target.model,
            stream: self.call.stream,
            traits: &planned.target.traits,
        };
        let mut conversation = Cow::Borrowed(match begun {
            Some(begun) => begun,
            None => self.conversation()?,
        });
        if let Some(wishes) = self.wishes_in_body().filter(|_| planned.dialect() == call.dialect) {
            let kept = STEERING_MEMBERS.into_iter().filter(|name| wishes.keeps(name, &planned.provider.kind));
            for (name, value) in kept.filter_map(|name| Some((name, call.document.get(name)?))) {
                let value = value.deserialize().unwrap_or_default();
                conversation.to_mut().rest.insert(name.to_owned(), value);
            }
        }
        let conversation = &*conversation;
        if planned.dialect() != self.call.dialect && anthropic::is_threaded(conversation) {
            return Err(thread_unsupported());
        }
        let rendered = match (self.call.operation, planned.dialect()) {
            (Operation::CountTokens, Dialect::AnthropicMessages) => {
                anthropic::render_count_request(conversation, &options)
            }
            (Operation::CountTokens, Dialect::Gemini) => gemini::render_count_request(conversation, &options),
            (_, dialect) => dialect.codec().render_request(conversation, &options),
        };
        Ok((vec![rendered.body], note_unheeded(rendered.losses)))
    }

    /// The caller's wishes, where they stand among the members of the body.
    fn wishes_in_body(&self) -> Option<&'a Steering> {
        self.call.steering.as_deref().filter(|wishes| wishes.in_body)
    }

    /// The caller's wishes about who is asked, for a target that does not get them: they have been heeded here.
    fn wishes_dropped_for(&self, planned: &Planned) -> Option<&Steering> {
        self.call.steering.as_deref().filter(|wishes| !wishes.passes_to(&planned.provider.kind))
    }

    /// The caller's bytes with what must change: the model's name, and usage asked for in OpenAI's streams.
    fn spliced(&self, planned: &Planned) -> Vec<Bytes> {
        let call = self.call;
        let mut splice = Splice::new(&call.document);
        if call.dialect != Dialect::Gemini && (*planned.target.model != *call.model || !call.names_model()) {
            splice = splice.set("model", JsonText::string(&planned.target.model));
        }
        if call.dialect == Dialect::OpenAiChat
            && call.stream
            && !call.include_usage
            && planned.target.traits.stream_options
        {
            splice = splice.set_nested("stream_options", "include_usage", JsonText::boolean(true));
        }
        for member in self.wishes_in_body().into_iter().flat_map(|wishes| unwanted_members(wishes, planned)) {
            splice = splice.remove(member);
        }
        splice.finish().into_segments().collect()
    }
}

/// The members that a target does not get: what they wish has been heeded.
fn unwanted_members<'p>(
    wishes: &'p Steering,
    planned: &'p Planned,
) -> impl Iterator<Item = &'static str> + 'p {
    STEERING_MEMBERS.into_iter().filter(|member| !wishes.keeps(member, &planned.provider.kind))
}

/// Dropping the field would lose all of the conversation that the request leaves out; the caller's SDK knows this code
/// and sends it whole.
fn thread_unsupported() -> GatewayError {
    let message = "`thread` asks the provider to keep the conversation, which a provider of another kind cannot do. \
                   Send all messages, without `thread`.";
    GatewayError {
        code: Some(anthropic::THREAD_UNSUPPORTED.to_owned()),
        param: Some("thread".to_owned()),
        ..GatewayError::bad_request(message)
    }
}

/// What is sent, and what could not be.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) request: Request<UpstreamBody>,
    pub(crate) losses: Losses,
    /// Whether the beginning of the answer is part of it.
    pub(crate) has_beginning: bool,
}

/// Prepares a request to a target, with this key.
pub(crate) fn prepare(
    translation: &Translation<'_>,
    planned: &Planned,
    key: usize,
) -> Result<Prepared, GatewayError> {
    let call = translation.call;
    // Whether it takes one may change while it is asked.
    let begun = translation.begun(planned);
    let (segments, losses) = translation.body(planned, begun)?;
    let unusable = |what: &str| {
        GatewayError::bad_request(format!("`{}` cannot be asked: {what}.", planned.target.label))
    };
    let door = planned.provider.doors.get(planned.door).ok_or_else(|| unusable("it has no such dialect"))?;
    let path = path(door.dialect, call.operation, &planned.target.model, call.stream);
    let path = door.endpoint.path(&path).map_err(|error| unusable(&error.to_string()))?;
    let mut request = Request::new(UpstreamBody::from_pieces(segments));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    headers.clone_from(&door.headers);
    let accepted = if call.stream { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accepted));
    // The tap reads answers, and the caller may not understand the provider's choice of compression.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if door.dialect == call.dialect {
        for name in call.dialect_headers.keys() {
            headers.remove(name);
        }
        // A header may be repeated, one beta a line.
        for (name, value) in &call.dialect_headers {
            headers.append(name, value.clone());
        }
    }
    if let Some(value) = planned.provider.keys.get(key).and_then(|key| key.value(planned.door)) {
        headers.insert(&door.auth, value.clone());
    }
    Ok(Prepared { request, losses, has_beginning: begun.is_some() })
}

/// Leaves the targets that may be asked: all, or in strict mode those that can express everything.
pub(crate) fn keep_expressible(plan: &mut Plan, translation: &Translation<'_>) -> Result<(), GatewayError> {
    if !plan.strict {
        return Ok(());
    }
    let mut kept = Vec::new();
    let mut lost = None;
    for planned in &plan.targets {
        let losses = translation.losses(planned)?;
        if losses.is_empty() {
            kept.push(planned.clone());
        } else {
            lost.get_or_insert(losses);
        }
    }
    match lost {
        Some(losses) if kept.is_empty() => {
            Err(GatewayError::not_expressible(&losses.fields().collect::<Vec<_>>().join(", ")))
        }
        _ => {
            plan.targets = kept;
            Ok(())
        }
    }
}

fn path(dialect: Dialect, operation: Operation, model: &str, stream: bool) -> Cow<'static, str> {
    let path = match (dialect, operation) {
        (Dialect::OpenAiChat, _) => "/chat/completions",
        (Dialect::AnthropicMessages, Operation::Chat) => "/v1/messages",
        (Dialect::AnthropicMessages, Operation::CountTokens) => "/v1/messages/count_tokens",
        (Dialect::Gemini, operation) => {
            let model = percent_encoding::utf8_percent_encode(model, IN_PATH);
            let method = match (operation, stream) {
                (Operation::CountTokens, _) => "countTokens",
                (Operation::Chat, true) => "streamGenerateContent?alt=sse",
                (Operation::Chat, false) => "generateContent",
            };
            return format!("/v1beta/models/{model}:{method}").into();
        }
    };
    path.into()
}

/// What is escaped in a model's name within a path: everything but what URLs leave alone.
const IN_PATH: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
