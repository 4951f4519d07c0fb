//! A caller's stream, written chunk by chunk as OpenAI writes it. Called through the codec.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::HERE;
use super::assistant::google_extra;
use super::finish::finish_word;
use super::media::url_of;
use super::reasoning::{render_detail, render_encrypted};
use super::reply::{carrying_id, render_citation, render_logprobs};
use super::stream::{DONE, OutCall, OutChoice, OutChunk, OutContent, OutCustom, OutDelta, OutFunction};
use super::usage::render_usage;
use crate::carry::{CarriedReasoning, MAX_CARRIED_IN_ID, Signature};
use crate::conversation::{Media, MediaKind, MediaSource};
use crate::event::{Event, PartDelta, PartStart};
use crate::framing::{encode_event, encode_json_event};
use crate::{ReplyOptions, StreamEncoder, Usage};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Encoder {
    options: ReplyOptions,
    id: String,
    model: String,
    created: i64,
    service_tier: Option<String>,
    system_fingerprint: Option<String>,
    choices: HashMap<u32, ChoiceWriter>,
    usage: Usage,
}

/// What has to be remembered of one choice.
#[derive(Debug, Default)]
struct ChoiceWriter {
    has_role: bool,
    parts: HashMap<u32, Writing>,
    calls: usize,
    reasoning_blocks: usize,
    images: usize,
    /// Signed reasoning since the last call, for the next call's id.
    carried: Vec<CarriedReasoning>,
    carried_bytes: usize,
}

/// What a part is on this wire.
#[derive(Debug)]
enum Writing {
    Text,
    Reasoning { index: usize, text: String },
    Refusal,
    Call { index: usize, free_text: bool },
    Audio,
    Nothing,
}

impl Encoder {
    pub(super) fn new(options: ReplyOptions) -> Self {
        Self {
            id: options.fallback_id.clone(),
            created: options.now,
            options,
            model: String::new(),
            service_tier: None,
            system_fingerprint: None,
            choices: HashMap::new(),
            usage: Usage::default(),
        }
    }

    fn write(&self, choices: Vec<OutChoice<'_>>, usage: Option<Value>, out: &mut Vec<u8>) {
        let chunk = OutChunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            service_tier: self.service_tier.as_deref(),
            system_fingerprint: self.system_fingerprint.as_deref(),
            choices,
            usage: usage.or_else(|| self.options.include_usage.then_some(Value::Null)),
        };
        let before = out.len();
        // Plain structs cannot fail to serialise; half an event must not stay behind if they did.
        if encode_json_event(out, None, &chunk).is_err() {
            out.truncate(before);
        }
    }

    fn write_delta(&mut self, choice: u32, delta: OutDelta<'_>, out: &mut Vec<u8>) {
        self.write_role(choice, out);
        self.write(vec![OutChoice { index: choice, delta, logprobs: None, finish_reason: None }], None, out);
    }

    /// The first chunk of every choice says who speaks.
    fn write_role(&mut self, choice: u32, out: &mut Vec<u8>) {
        let writer = self.choices.entry(choice).or_default();
        if std::mem::replace(&mut writer.has_role, true) {
            return;
        }
        let delta =
            OutDelta { role: Some("assistant"), content: Some(OutContent::Text("")), ..OutDelta::default() };
        self.write(vec![OutChoice { index: choice, delta, logprobs: None, finish_reason: None }], None, out);
    }

    fn start_part(&mut self, choice: u32, part: u32, start: &PartStart, out: &mut Vec<u8>) {
        let writer = self.choices.entry(choice).or_default();
        let writing = match start {
            PartStart::Text => Writing::Text,
            PartStart::Refusal => Writing::Refusal,
            PartStart::Reasoning => {
                writer.reasoning_blocks += 1;
                Writing::Reasoning { index: writer.reasoning_blocks - 1, text: String::new() }
            }
            PartStart::RedactedReasoning { data } => {
                let index = writer.reasoning_blocks;
                writer.reasoning_blocks += 1;
                writer.carry(None, data);
                let details = Some([render_encrypted(index, data)]);
                self.write_delta(choice, OutDelta { reasoning_details: details, ..OutDelta::default() }, out);
                Writing::Nothing
            }
            PartStart::ToolCall { id, name, free_text, signature } => {
                let index = writer.calls;
                writer.calls += 1;
                let id = carrying_id(id, signature.as_ref(), writer.take_carried());
                self.start_call(choice, index, &id, (name, *free_text), signature.as_ref(), out);
                Writing::Call { index, free_text: *free_text }
            }
            PartStart::Media(media) => self.start_media(choice, media, out),
            PartStart::Native(native) if native.dialect == HERE => {
                let content = Some(OutContent::Parts([&native.value]));
                self.write_delta(choice, OutDelta { content, ..OutDelta::default() }, out);
                Writing::Nothing
            }
            PartStart::Native(_) => Writing::Nothing,
        };
        self.choices.entry(choice).or_default().parts.insert(part, writing);
    }

    fn start_call(
        &mut self,
        choice: u32,
        index: usize,
        id: &str,
        (name, free_text): (&str, bool),
        signature: Option<&Signature>,
        out: &mut Vec<u8>,
    ) {
        let function = OutFunction { name: Some(name), arguments: "" };
        if self.options.legacy_functions {
            // The old form has room for one call.
            if index == 0 {
                let delta = OutDelta { function_call: Some(function), ..OutDelta::default() };
                self.write_delta(choice, delta, out);
            }
            return;
        }
        let call = OutCall {
            index,
            id: Some(id),
            kind: Some(if free_text { "custom" } else { "function" }),
            custom: free_text.then_some(OutCustom { name: Some(name), input: "" }),
            function: (!free_text).then_some(function),
            extra_content: signature.and_then(google_extra),
        };
        self.write_delta(choice, OutDelta { tool_calls: Some([call]), ..OutDelta::default() }, out);
    }

    fn start_media(&mut self, choice: u32, media: &Media, out: &mut Vec<u8>) -> Writing {
        match media.kind {
            MediaKind::Image => {
                let Some(url) = url_of(media) else { return Writing::Nothing };
                let writer = self.choices.entry(choice).or_default();
                let index = writer.images;
                writer.images += 1;
                let image = json!({ "type": "image_url", "image_url": { "url": url }, "index": index });
                self.write_delta(choice, OutDelta { images: Some([image]), ..OutDelta::default() }, out);
                Writing::Nothing
            }
            MediaKind::Audio => {
                let data = match &media.source {
                    MediaSource::Base64(data) => data.as_str(),
                    _ => "",
                };
                let mut audio = json!({ "id": format!("audio_{}", self.id) });
                if !data.is_empty() {
                    audio["data"] = data.into();
                }
                if let Some(transcript) = &media.transcript {
                    audio["transcript"] = transcript.as_str().into();
                }
                self.write_delta(choice, OutDelta { audio: Some(audio), ..OutDelta::default() }, out);
                Writing::Audio
            }
            MediaKind::Document | MediaKind::Video => Writing::Nothing,
        }
    }

    fn extend_part(&mut self, choice: u32, part: u32, delta: &PartDelta, out: &mut Vec<u8>) {
        let Some(writing) = self.choices.get_mut(&choice).and_then(|writer| writer.parts.get_mut(&part))
        else {
            return;
        };
        let citation;
        let nothing = OutDelta::default();
        let delta = match (writing, delta) {
            (Writing::Text, PartDelta::Text(text)) => {
                OutDelta { content: Some(OutContent::Text(text)), ..nothing }
            }
            (Writing::Refusal, PartDelta::Text(text)) => OutDelta { refusal: Some(text), ..nothing },
            (Writing::Reasoning { index, text }, PartDelta::Text(more)) => {
                text.push_str(more);
                let details = Some([render_detail(*index, Some(more), None, None)]);
                OutDelta { reasoning_content: Some(more), reasoning_details: details, ..nothing }
            }
            (Writing::Reasoning { index, text }, PartDelta::Signature(signature)) => {
                let details = Some([render_detail(*index, None, Some(signature), None)]);
                let text = std::mem::take(text);
                if let Some(writer) = self.choices.get_mut(&choice) {
                    writer.carry(Some(text), signature);
                }
                OutDelta { reasoning_details: details, ..nothing }
            }
            (Writing::Text, PartDelta::Signature(signature)) => match google_extra(signature) {
                Some(extra) => OutDelta { extra_content: Some(extra), ..nothing },
                None => return,
            },
            (Writing::Text, PartDelta::Citation(found)) => {
                let Some(rendered) = render_citation(found) else { return };
                citation = rendered;
                OutDelta { annotations: Some([citation.as_ref()]), ..nothing }
            }
            (Writing::Call { index, free_text }, PartDelta::Arguments(more)) => {
                let (index, free_text) = (*index, *free_text);
                let function = OutFunction { name: None, arguments: more };
                if self.options.legacy_functions {
                    if index > 0 {
                        return;
                    }
                    OutDelta { function_call: Some(function), ..nothing }
                } else {
                    let call = OutCall {
                        index,
                        custom: free_text.then_some(OutCustom { name: None, input: more }),
                        function: (!free_text).then_some(function),
                        ..OutCall::default()
                    };
                    OutDelta { tool_calls: Some([call]), ..nothing }
                }
            }
            (Writing::Call { index, .. }, PartDelta::Signature(signature)) => {
                let Some(extra) = google_extra(signature) else { return };
                let call = OutCall { index: *index, extra_content: Some(extra), ..OutCall::default() };
                OutDelta { tool_calls: Some([call]), ..nothing }
            }
            (Writing::Audio, PartDelta::Data { base64, transcript }) => {
                let mut audio = json!({});
                if !base64.is_empty() {
                    audio["data"] = base64.as_str().into();
                }
                if !transcript.is_empty() {
                    audio["transcript"] = transcript.as_str().into();
                }
                OutDelta { audio: Some(audio), ..nothing }
            }
            _ => return,
        };
        self.write_delta(choice, delta, out);
    }
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => {
                if !id.is_empty() {
                    self.id.clone_from(id);
                }
                self.model.clone_from(model);
                self.created = created.unwrap_or(self.options.now);
                self.write_role(0, out);
            }
            Event::PartStart { choice, part, start } => self.start_part(*choice, *part, start, out),
            Event::PartDelta { choice, part, delta } => self.extend_part(*choice, *part, delta, out),
            Event::PartEnd { choice, part } => {
                if let Some(writer) = self.choices.get_mut(choice) {
                    writer.parts.remove(part);
                }
            }
            Event::Logprobs { choice, tokens } => {
                self.write_role(*choice, out);
                let delta = OutDelta { content: Some(OutContent::Text("")), ..OutDelta::default() };
                let logprobs = Some(render_logprobs(tokens, None));
                self.write(
                    vec![OutChoice { index: *choice, delta, logprobs, finish_reason: None }],
                    None,
                    out,
                );
            }
            Event::Finish { choice, finish, .. } => {
                self.write_role(*choice, out);
                let word = Some(finish_word(finish.reason, self.options.legacy_functions));
                let delta = OutDelta::default();
                self.write(
                    vec![OutChoice { index: *choice, delta, logprobs: None, finish_reason: word }],
                    None,
                    out,
                );
            }
            Event::Usage(usage) => self.usage = *usage,
            Event::Rest(rest) => {
                let text = |name: &str| rest.get(name).and_then(Value::as_str).map(str::to_owned);
                self.service_tier = text("service_tier").or(self.service_tier.take());
                self.system_fingerprint = text("system_fingerprint").or(self.system_fingerprint.take());
            }
            Event::End => {
                if self.options.include_usage {
                    self.write(Vec::new(), Some(render_usage(&self.usage, None)), out);
                }
                encode_event(out, None, DONE);
            }
        }
    }
}

impl ChoiceWriter {
    /// Remembers a block for the next call's id: only what has a foreign proof, and no more than an id can hold.
    fn carry(&mut self, text: Option<String>, signature: &Signature) {
        if signature.origin == HERE {
            return;
        }
        let length = text.as_ref().map_or(0, String::len).saturating_add(signature.data.len());
        self.carried_bytes = self.carried_bytes.saturating_add(length);
        if self.carried_bytes > MAX_CARRIED_IN_ID {
            self.carried.clear();
            return;
        }
        self.carried.push(CarriedReasoning { text, signature: signature.clone() });
    }

    fn take_carried(&mut self) -> Vec<CarriedReasoning> {
        self.carried_bytes = 0;
        std::mem::take(&mut self.carried)
    }
}
