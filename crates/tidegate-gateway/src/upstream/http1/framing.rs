//! From the bytes on the wire to the data of a body. Called by `body`; pure.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;

use crate::upstream::error::BodyError;

/// The line before a chunk may be this long, with extensions that nobody uses.
const MAX_SIZE_LINE_BYTES: usize = 1024;

/// Headers behind the last chunk are read over up to this length.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// How a body is framed, and how much of it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framing(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length {
        left: u64,
    },
    ChunkSize,
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailer {
        seen: usize,
    },
    UntilClose,
    Ended,
    /// What breaks the rules was found behind data, which went out first.
    Broken(&'static str),
}

impl Framing {
    pub(super) fn length(length: u64) -> Self {
        Self(if length == 0 { State::Ended } else { State::Length { left: length } })
    }

    pub(super) fn chunked() -> Self {
        Self(State::ChunkSize)
    }

    pub(super) fn until_close() -> Self {
        Self(State::UntilClose)
    }

    pub(super) fn ended() -> Self {
        Self(State::Ended)
    }

    pub(super) fn has_ended(self) -> bool {
        self.0 == State::Ended
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) fn ends_with_connection(self) -> bool {
        self.0 == State::UntilClose
    }

    /// What is still to come, where that is known.
    pub(super) fn remaining(self) -> Option<u64> {
        match self.0 {
            State::Length { left } => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// Takes the next data off the buffer; `None` when there is none before more has been read, or at the end. The end
    /// is noticed along with the last data, if it is in the buffer: the caller then gets both in one write.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        self.skip_to_data(buffer)?;
        let data = match &mut self.0 {
            State::Length { left } | State::ChunkData { left } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= u64::try_from(length).unwrap_or(u64::MAX).min(*left);
                buffer.split_to(length)
            }
            State::UntilClose => buffer.split(),
            _ => return Ok(None),
        };
        match self.skip_to_data(buffer) {
            Err(BodyError::Chunks(rule)) if !data.is_empty() => self.0 = State::Broken(rule),
            outcome => outcome?,
        }
        Ok((!data.is_empty()).then(|| data.freeze()))
    }

    /// Goes over everything that is not data, as far as the buffer reaches.
    fn skip_to_data(&mut self, buffer: &mut BytesMut) -> Result<(), BodyError> {
        loop {
            self.0 = match self.0 {
                State::Length { left: 0 } => State::Ended,
                State::ChunkData { left: 0 } => State::ChunkEnd,
                State::ChunkEnd => match (buffer.first(), buffer.get(1)) {
                    (Some(b'\r'), Some(b'\n')) => {
                        buffer.advance(2);
                        State::ChunkSize
                    }
                    (None, _) | (Some(b'\r'), None) => return Ok(()),
                    _ => return Err(BodyError::Chunks("a chunk is longer than announced")),
                },
                State::ChunkSize => {
                    let Some(line) = line(buffer, MAX_SIZE_LINE_BYTES)? else { return Ok(()) };
                    match chunk_size(&line)? {
                        0 => State::Trailer { seen: 0 },
                        left => State::ChunkData { left },
                    }
                }
                State::Trailer { seen } => {
                    let Some(line) = line(buffer, MAX_TRAILER_BYTES - seen)? else { return Ok(()) };
                    if line.is_empty() { State::Ended } else { State::Trailer { seen: seen + line.len() } }
                }
                State::Broken(rule) => return Err(BodyError::Chunks(rule)),
                State::Length { .. } | State::ChunkData { .. } | State::UntilClose | State::Ended => {
                    return Ok(());
                }
            };
        }
    }
}

/// Takes a line off the buffer, without its line break; `None` when its end has not been read yet.
fn line(buffer: &mut BytesMut, limit: usize) -> Result<Option<BytesMut>, BodyError> {
    let end = memchr(b'\n', buffer);
    if end.unwrap_or(buffer.len()) > limit {
        return Err(BodyError::Chunks("a line between chunks is too long"));
    }
    let Some(end) = end else { return Ok(None) };
    let mut line = buffer.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(BodyError::Chunks("a line between chunks ends without a carriage return"));
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

fn chunk_size(line: &[u8]) -> Result<u64, BodyError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at(digits);
    let extension = rest.trim_ascii_start();
    let well_formed = (1..=16).contains(&digits) && (extension.is_empty() || extension.starts_with(b";"));
    std::str::from_utf8(size)
        .ok()
        .filter(|_| well_formed)
        .and_then(|size| u64::from_str_radix(size, 16).ok())
        .ok_or(BodyError::Chunks("a chunk's size makes no sense"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the body in pieces of this size; gives back its data, what is left in the buffer, and whether it ended.
    fn read(mut framing: Framing, wire: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, bool), BodyError> {
        let mut buffer = BytesMut::new();
        let mut data = Vec::new();
        for bytes in wire.chunks(piece) {
            buffer.extend_from_slice(bytes);
            while let Some(taken) = framing.take(&mut buffer)? {
                data.extend_from_slice(&taken);
            }
        }
        Ok((data, buffer.to_vec(), framing.has_ended()))
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        for (framing, wire, data, rest, ended) in [
            (Framing::length(5), &b"helloHTTP"[..], &b"hello"[..], &b"HTTP"[..], true),
            (Framing::length(6), b"hello", b"hello", b"", false),
            (Framing::length(0), b"HTTP", b"", b"HTTP", true),
            (
                Framing::chunked(),
                b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\nHTTP",
                b"hello world",
                b"HTTP",
                true,
            ),
            (Framing::chunked(), b"00A \r\n0123456789\r\n0\r\nt: v\r\n\r\n", b"0123456789", b"", true),
            (Framing::chunked(), b"5\r\nhello\r\n", b"hello", b"", false),
            (Framing::until_close(), b"hello", b"hello", b"", false),
        ] {
            for piece in 1..=wire.len() {
                let read = read(framing, wire, piece).unwrap();
                assert_eq!(read, (data.to_vec(), rest.to_vec(), ended), "{wire:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_end_is_noticed_with_the_last_data() {
        let mut framing = Framing::chunked();
        let mut buffer = BytesMut::from(&b"5\r\nhello\r\n0\r\n\r\n"[..]);
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), "hello");
        assert!(framing.has_ended());
    }

    #[test]
    fn data_before_what_breaks_the_rules_is_handed_on_first() {
        let mut framing = Framing::chunked();
        let mut buffer = BytesMut::from(&b"5\r\nhello\r\nbroken\r\n5\r\nhello\r\n"[..]);
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), "hello");
        assert!(framing.take(&mut buffer).is_err());
        assert!(framing.take(&mut buffer).is_err(), "nothing behind it is read");
    }

    #[test]
    fn chunks_that_break_the_rules_are_refused() {
        let long_line = [b"5;".to_vec(), vec![b'a'; MAX_SIZE_LINE_BYTES], b"\r\nhello\r\n".to_vec()].concat();
        let long_trailer = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(MAX_TRAILER_BYTES / 4)].concat();
        for wire in [
            &b"hello\r\n"[..],
            b"\r\nhello",
            b"-5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello!\r\n",
            b"11111111111111111\r\n",
            &long_line,
            &long_trailer,
        ] {
            let text = String::from_utf8_lossy(wire.get(..wire.len().min(40)).unwrap()).into_owned();
            assert!(read(Framing::chunked(), wire, wire.len()).is_err(), "{text}");
            assert!(read(Framing::chunked(), wire, 1).is_err(), "{text}, byte by byte");
        }
    }
}
