//! How records lie in a segment: length of the payload (four bytes, little-endian), CRC-32 of version and payload (four
//! bytes), version (one byte), payload. PURE.

/// Length, checksum, version.
pub(super) const HEADER_BYTES: usize = 9;
/// The most bytes of a payload; the limits in [`record`](super::record) keep every record below it. What claims to be
/// longer is damaged.
pub(super) const MAX_PAYLOAD_BYTES: usize = 128 << 10;
/// The most bytes of a frame.
pub(super) const MAX_FRAME_BYTES: usize = HEADER_BYTES + MAX_PAYLOAD_BYTES;

/// A whole frame at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) version: u8,
    pub(super) payload: &'a [u8],
    /// How many bytes it takes.
    pub(super) bytes: usize,
}

/// Room for the header, which [`seal`] fills in.
pub(super) fn begin(version: u8) -> Vec<u8> {
    // A usual record takes some 250 bytes.
    let mut frame = Vec::with_capacity(512);
    frame.extend_from_slice(&[0; HEADER_BYTES - 1]);
    frame.push(version);
    frame
}

/// Fills in length and checksum of a frame whose payload is there. `None` if that is too long.
pub(super) fn seal(frame: &mut [u8]) -> Option<()> {
    let payload = frame.len().checked_sub(HEADER_BYTES)?;
    let length = u32::try_from(payload).ok().filter(|_| (1..=MAX_PAYLOAD_BYTES).contains(&payload))?;
    let checksum = crc32fast::hash(frame.get(8..)?);
    frame.get_mut(..4)?.copy_from_slice(&length.to_le_bytes());
    frame.get_mut(4..8)?.copy_from_slice(&checksum.to_le_bytes());
    Some(())
}

/// The frame at the beginning of these bytes, if it is whole and undamaged.
pub(super) fn first(bytes: &[u8]) -> Option<Frame<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if !(1..=MAX_PAYLOAD_BYTES).contains(&length) {
        return None;
    }
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let checked = rest.get(..=length)?;
    if crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (version, payload) = checked.split_first()?;
    Some(Frame { version: *version, payload, bytes: HEADER_BYTES + length })
}

/// Where, in damaged bytes, the next whole frame begins.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&start| bytes.get(start..).is_some_and(|rest| first(rest).is_some()))
}
