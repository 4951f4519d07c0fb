//! Server-sent events: an incremental decoder that keeps each event's exact bytes, and an encoder.
//!
//! Called by the relay, which forwards `raw` as it came, and by the dialects' stream decoders, which read `event` and
//! `data`. It follows the WHATWG event-stream format (section 9.2.6 of the HTML standard) with three deliberate
//! differences, all because a relay must not lose bytes:
//!
//! - A block without data (a keep-alive comment) is reported too, with empty `data` and `has_data` false.
//! - An event that the end of the stream cuts off is reported by `finish` with `is_complete` false, since some
//!   providers leave the last blank line out.
//! - A lone carriage return at the end of what has arrived waits for the next byte, which may be its line feed. Once a
//!   stream has ended a line by a carriage return alone, the one of a blank line does not wait, or each event would
//!   come with the next; a line feed behind it begins the next block, where it is one more blank line.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};
use serde::Serialize;

use super::FramingError;

/// The most bytes one event may have. The largest real ones carry a whole image in base64, of some 25 MB; a stream that
/// has no blank line within this size is not an event stream, and would otherwise be buffered for ever.
pub const MAX_EVENT_BYTES: usize = 32 * 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One block of the stream, up to and including its blank line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The exact bytes: all lines, comments, blank lines before it and the one that ends it. The concatenation of all
    /// events' `raw` is the stream.
    pub raw: Bytes,
    /// The value of the last `event:` line, unless empty.
    pub event: Option<Bytes>,
    /// The values of the `data:` lines, joined by line feeds. A slice of `raw` when there is one line only.
    pub data: Bytes,
    /// Whether there was any `data:` line. False for keep-alive comments, which a browser would not dispatch.
    pub has_data: bool,
    /// The value of the last `id:` line that holds no NUL.
    pub id: Option<Bytes>,
    /// The value of the last `retry:` line made of digits, in milliseconds.
    pub retry_ms: Option<u64>,
    /// Whether its blank line arrived. Only the one that `finish` reports may lack it.
    pub is_complete: bool,
}

impl SseEvent {
    /// The event's name as text: `message` when none was given, empty when it is not UTF-8.
    pub fn name(&self) -> &str {
        self.event.as_deref().map_or("message", |name| str::from_utf8(name).unwrap_or_default())
    }
}

/// Cuts a byte stream into events, however the bytes arrive.
///
/// `push` a chunk, call `next_event` until it gives `None`, and so on; at the end of the stream call `finish` until it
/// gives `None`. An event that lies whole within a chunk is a slice of it; one that spans chunks is copied once.
#[derive(Debug)]
pub struct SseDecoder {
    limit: usize,
    buffer: Buffer,
    block: Block,
    at_start_of_stream: bool,
    /// A line was ended by a carriage return alone.
    has_lone_returns: bool,
    has_failed: bool,
}

impl Default for SseDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl SseDecoder {
    /// A decoder at the start of a stream, whose events may have `MAX_EVENT_BYTES`.
    pub fn new() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }

    /// A decoder at the start of a stream, whose events may have `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            buffer: Buffer::Whole(Bytes::new()),
            block: Block::default(),
            at_start_of_stream: true,
            has_lone_returns: false,
            has_failed: false,
        }
    }

    /// Takes the next bytes of the stream. Drain the events between two pushes: what is not drained is copied.
    pub fn push(&mut self, chunk: Bytes) {
        if !self.has_failed {
            self.buffer.append(chunk);
        }
    }

    /// The next event that has arrived whole. After an error there is nothing more.
    pub fn next_event(&mut self) -> Option<Result<SseEvent, FramingError>> {
        if self.has_failed {
            return None;
        }
        let end = self.find_end();
        if end.unwrap_or(self.buffer.len()) > self.limit {
            self.has_failed = true;
            self.buffer = Buffer::Whole(Bytes::new());
            return Some(Err(FramingError::EventTooLarge { limit: self.limit }));
        }
        Some(Ok(self.take_event(end?, true)))
    }

    /// After the last push: the events that are left, among them one that was cut off or merely lacks its blank line.
    pub fn finish(&mut self) -> Option<Result<SseEvent, FramingError>> {
        if let Some(event) = self.next_event() {
            return Some(event);
        }
        let length = self.buffer.len();
        if length == 0 {
            return None;
        }
        // What `find_end` left undecided is the last line: without an end, or ended by a lone carriage return.
        let bytes = self.buffer.as_slice();
        let last_line_end = if bytes.last() == Some(&b'\r') { length - 1 } else { length };
        let last_line_start = self.block.line_start.min(last_line_end);
        let ends_here = last_line_end < length && last_line_start == last_line_end && self.block.has_lines;
        self.block.read_line(bytes, last_line_start..last_line_end);
        Some(Ok(self.take_event(length, ends_here)))
    }

    /// The bytes that belong to an event that has not arrived whole.
    pub fn pending(&self) -> &[u8] {
        self.buffer.as_slice()
    }

    /// Reads lines until the block ends, and gives the offset just after it.
    fn find_end(&mut self) -> Option<usize> {
        let bytes = self.buffer.as_slice();
        let block = &mut self.block;
        if self.at_start_of_stream {
            if bytes.starts_with(BYTE_ORDER_MARK) {
                block.line_start = BYTE_ORDER_MARK.len();
                block.searched = BYTE_ORDER_MARK.len();
            } else if BYTE_ORDER_MARK.starts_with(bytes) {
                return None;
            }
            self.at_start_of_stream = false;
        }
        loop {
            let unsearched = bytes.get(block.searched..)?;
            let Some(offset) = memchr2(b'\n', b'\r', unsearched) else {
                block.searched = bytes.len();
                return None;
            };
            let line_end = block.searched + offset;
            block.searched = line_end;
            let line = block.line_start..line_end;
            let ends_block = line.is_empty() && block.has_lines;
            let next_line = match (bytes.get(line_end), bytes.get(line_end + 1)) {
                // Whatever follows, so that it makes no difference whether it has arrived.
                (Some(b'\r'), _) if ends_block && self.has_lone_returns => line_end + 1,
                (Some(b'\r'), None) => return None,
                (Some(b'\r'), Some(b'\n')) => line_end + 2,
                (Some(b'\r'), Some(_)) => {
                    self.has_lone_returns = true;
                    line_end + 1
                }
                _ => line_end + 1,
            };
            block.line_start = next_line;
            block.searched = next_line;
            if !line.is_empty() {
                block.read_line(bytes, line);
            } else if ends_block {
                return Some(next_line);
            }
        }
    }

    /// Cuts the block off the buffer.
    fn take_event(&mut self, end: usize, is_complete: bool) -> SseEvent {
        let block = std::mem::take(&mut self.block);
        let raw = self.buffer.split_to(end);
        let has_data = !matches!(block.data, Data::None);
        let data = match block.data {
            Data::None => Bytes::new(),
            Data::OneLine(span) => raw.slice(span),
            Data::Joined(joined) => Bytes::from(joined),
        };
        SseEvent {
            event: block.event.filter(|span| !span.is_empty()).map(|span| raw.slice(span)),
            id: block.id.map(|span| raw.slice(span)),
            data,
            has_data,
            retry_ms: block.retry_ms,
            is_complete,
            raw,
        }
    }
}

/// What has arrived and was not handed out: the received chunk itself, or a copy that grows while an event spans chunks.
#[derive(Debug)]
enum Buffer {
    Whole(Bytes),
    Growing(BytesMut),
}

impl Buffer {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Growing(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn append(&mut self, chunk: Bytes) {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => *bytes = chunk,
            Self::Whole(bytes) => {
                let mut grown = BytesMut::with_capacity(bytes.len() + chunk.len());
                grown.extend_from_slice(bytes);
                grown.extend_from_slice(&chunk);
                *self = Self::Growing(grown);
            }
            // Grows by doubling, so that a large event in small pieces costs a constant number of copies.
            Self::Growing(bytes) => bytes.extend_from_slice(&chunk),
        }
    }

    fn split_to(&mut self, end: usize) -> Bytes {
        if let Self::Growing(bytes) = self {
            *self = Self::Whole(std::mem::take(bytes).freeze());
        }
        match self {
            Self::Whole(bytes) if end >= bytes.len() => std::mem::take(bytes),
            Self::Whole(bytes) => bytes.split_to(end),
            Self::Growing(_) => Bytes::new(),
        }
    }
}

/// What was read of the block at the front of the buffer; spans count from its first byte.
#[derive(Debug, Default)]
struct Block {
    line_start: usize,
    /// No line ends before here that was not read: a long line in small pieces is searched once.
    searched: usize,
    has_lines: bool,
    event: Option<Range<usize>>,
    id: Option<Range<usize>>,
    retry_ms: Option<u64>,
    data: Data,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    OneLine(Range<usize>),
    Joined(Vec<u8>),
}

impl Block {
    fn read_line(&mut self, bytes: &[u8], line: Range<usize>) {
        let Some(content) = bytes.get(line.clone()).filter(|content| !content.is_empty()) else { return };
        self.has_lines = true;
        let name_length = memchr(b':', content).unwrap_or(content.len());
        let (name, rest) = content.split_at(name_length);
        let skipped = match rest {
            [b':', b' ', ..] => 2,
            [b':', ..] => 1,
            _ => 0,
        };
        let value = line.start + name_length + skipped..line.end;
        match name {
            b"data" => self.add_data(bytes, value),
            b"event" => self.event = Some(value),
            b"id" if !bytes[value.clone()].contains(&0) => self.id = Some(value),
            b"retry" => self.retry_ms = parse_digits(&bytes[value]).or(self.retry_ms),
            // Comments (an empty name) and unknown fields stay in `raw` and mean nothing.
            _ => {}
        }
    }

    fn add_data(&mut self, bytes: &[u8], value: Range<usize>) {
        match &mut self.data {
            Data::None => self.data = Data::OneLine(value),
            Data::OneLine(first) => {
                let mut joined = Vec::with_capacity(first.len() + 1 + value.len());
                joined.extend_from_slice(&bytes[first.clone()]);
                joined.push(b'\n');
                joined.extend_from_slice(&bytes[value]);
                self.data = Data::Joined(joined);
            }
            Data::Joined(joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(&bytes[value]);
            }
        }
    }
}

fn parse_digits(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// Appends one event. Data with line ends becomes several `data:` lines; a name is cut at a line end.
pub fn encode_event(out: &mut Vec<u8>, event: Option<&str>, data: &[u8]) {
    out.reserve(data.len() + event.map_or(0, str::len) + "event: \ndata: \n\n".len());
    encode_name(out, event);
    let mut rest = data;
    while let Some(end) = memchr2(b'\n', b'\r', rest) {
        encode_data_line(out, &rest[..end]);
        let line_end_length = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + line_end_length..];
    }
    encode_data_line(out, rest);
    out.push(b'\n');
}

/// Appends one event whose data is `value` as JSON, on one line.
///
/// Raw values (a model's arguments as it wrote them) may hold line ends between their tokens, where they mean nothing;
/// they become spaces. Several `data:` lines would be right as well, but some SDKs read only the first.
///
/// On an error `out` may hold the beginning of the event.
pub fn encode_json_event(
    out: &mut Vec<u8>,
    event: Option<&str>,
    value: &impl Serialize,
) -> Result<(), serde_json::Error> {
    encode_name(out, event);
    out.extend_from_slice(b"data: ");
    let start = out.len();
    serde_json::to_writer(&mut *out, value)?;
    put_on_one_line(out.get_mut(start..).unwrap_or_default());
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// The same for JSON that is text already.
pub fn encode_json_text(out: &mut Vec<u8>, event: Option<&str>, json: &[u8]) {
    out.reserve(json.len() + event.map_or(0, str::len) + "event: \ndata: \n\n".len());
    encode_name(out, event);
    out.extend_from_slice(b"data: ");
    let start = out.len();
    out.extend_from_slice(json);
    put_on_one_line(out.get_mut(start..).unwrap_or_default());
    out.extend_from_slice(b"\n\n");
}

fn put_on_one_line(mut json: &mut [u8]) {
    while let Some(line_end) = memchr2(b'\n', b'\r', json) {
        json[line_end] = b' ';
        json = &mut json[line_end + 1..];
    }
}

fn encode_name(out: &mut Vec<u8>, event: Option<&str>) {
    if let Some(name) = event.and_then(|event| event.split(['\n', '\r']).next()) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
}

fn encode_data_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line);
    out.push(b'\n');
}
