//! The journal by itself: whatever becomes of its files, what is whole comes out, once and in order.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use proptest::prelude::*;
use tempfile::TempDir;
use tidegate_policy::experiments::{Likeness, Seen};
use tidegate_wire::Usage;

use super::{Journal, JournalFiles, JournalReader, Place, Record, encode, frame, record, texts::KnownTexts};
use crate::{
    error::StoreError,
    ledger::{Attempt, AttemptUsage, CacheState, CallId, Exposure, LedgerEntry, Outcome, Pair, Tags},
};

const LIMIT: u64 = 64 << 20;

fn entry(number: u64) -> LedgerEntry {
    let mut tags = Tags::default();
    tags.insert("team", "search").unwrap();
    LedgerEntry {
        duration_us: number,
        organization_id: Some("org_1".into()),
        model: Some("é".repeat(usize::try_from(number % 40).unwrap()).into()),
        outcome: Outcome::Answered,
        status: Some(200),
        usage: Usage { input: 812, output: 66, ..Usage::default() },
        cost_nanodollars: Some(334_000),
        charge_nanodollars: Some(400_000),
        is_estimated: true,
        tags,
        attempts: vec![Attempt {
            target: "openai/gpt-5-mini".into(),
            failure: Some("timeout".into()),
            status: None,
            duration_us: 5,
            used: (!number.is_multiple_of(2)).then(|| AttemptUsage {
                prices: (number % 4 > 1).then(|| "{\"input\":1}".into()),
                cost_nanodollars: Some(9),
                ..AttemptUsage::new(
                    &Usage { input: 7, cache_read: number % 5, output: number, ..Usage::default() },
                    true,
                )
            }),
        }],
        dropped: vec!["seed".into()],
        cache: Some(CacheState::Bypass),
        service_tier: number.is_multiple_of(5).then(|| "flex".into()),
        // All layouts, with shadows and calls that take no part among them.
        exposure: (!number.is_multiple_of(3)).then(|| {
            Box::new(Exposure {
                experiment: "greeting".into(),
                run: "1f2e".into(),
                arm: "haiku".into(),
                unit: Some(u64::MAX - number),
                left_out: number.is_multiple_of(5).then(|| "requirement".into()),
                pair: (number % 3 > 1).then(|| Pair {
                    of: CallId::now(),
                    control: Seen { cost_nanodollars: Some(7), latency_us: Some(9), ..Seen::default() },
                    likeness: Some(Likeness {
                        similarity: 0.25,
                        control_characters: 3,
                        shadow_characters: 4,
                        tool_names: Some(true),
                        tool_arguments: Some(false),
                        json: None,
                    }),
                }),
            })
        }),
        ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
    }
}

/// As nearly all are: answered at once, with nothing more to say.
fn plain(number: u64) -> LedgerEntry {
    LedgerEntry {
        duration_us: number,
        time_to_first_token_us: number.is_multiple_of(3).then_some(number / 2),
        organization_id: Some("org_1".into()),
        key_id: Some(format!("key_{}", number % 5).into()),
        team_id: number.is_multiple_of(2).then(|| "team_1".into()),
        end_user: number.is_multiple_of(7).then(|| "é".repeat(usize::try_from(number % 40).unwrap()).into()),
        model: Some("fast".into()),
        provider: Some("openai".into()),
        upstream_model: Some("gpt-5-mini".into()),
        key_label: Some("openai#1".into()),
        outcome: Outcome::Answered,
        status: Some(200),
        finish_reason: Some("stop".into()),
        service_tier: Some("flex".into()),
        prices: Some(r#"{"input":250,"output":2000}"#.into()),
        usage: Usage { input: 812, output: number, reasoning: number % 4, ..Usage::default() },
        cost_nanodollars: Some(334_000 + number),
        charge_nanodollars: Some(400_000),
        attempts: vec![Attempt {
            target: "openai/gpt-5-mini".into(),
            failure: None,
            status: Some(200),
            duration_us: number + 1,
            used: None,
        }],
        bytes_in: 100,
        bytes_out: number,
        ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
    }
}

fn begin(directory: &Path) -> (Journal, Place) {
    Journal::begin(JournalFiles::open(directory).unwrap(), None, LIMIT).unwrap()
}

/// Everything between a place and the end, in batches of three, and how many bytes were damaged.
fn rest(journal: &Journal, mut from: Place) -> (Vec<LedgerEntry>, u64) {
    let (mut reader, mut entries, mut damaged) = (JournalReader::default(), Vec::new(), 0);
    let end = journal.end_place();
    while from < end {
        let reading = reader.read(journal.files(), from, end, 3, &mut entries).unwrap();
        assert!(reading.to > from, "the reader stands still at {from:?}");
        from = reading.to;
        damaged += reading.damaged_bytes;
    }
    (entries, damaged)
}

/// A journal with so many entries, and its one segment.
fn filled(directory: &Path, count: u64) -> (Vec<LedgerEntry>, PathBuf, Vec<u8>) {
    let entries: Vec<LedgerEntry> = (0..count).map(entry).collect();
    let (journal, _) = begin(directory);
    for entry in &entries {
        assert_eq!(journal.append(encode(entry).unwrap()), Some(1));
    }
    let path = directory.join("00000001.log");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(journal.bytes(), u64::try_from(bytes.len()).unwrap());
    (entries, path, bytes)
}

/// Puts these bytes in the place of all segments, as a crash may leave them, and reads what is there.
fn reopened(directory: &Path, path: &Path, bytes: &[u8]) -> (Vec<LedgerEntry>, u64) {
    for file in fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(file).unwrap();
        }
    }
    fs::write(path, bytes).unwrap();
    let (journal, from) = begin(directory);
    // One more, so that the damage does not lie at the end any more.
    let last = entry(1_000);
    journal.append(encode(&last).unwrap());
    let (mut entries, damaged) = rest(&journal, from);
    assert_eq!(entries.pop().as_ref(), Some(&last), "what comes after a crash is read");
    (entries, damaged)
}

#[test]
fn a_file_that_is_cut_at_any_byte_gives_the_records_that_are_whole() {
    let directory = TempDir::new().unwrap();
    let (entries, path, bytes) = filled(directory.path(), 6);
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(frame) = frame::first(&bytes[at..]) {
        at += frame.bytes;
        ends.push(at);
    }
    assert_eq!(ends.len(), entries.len());
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let (found, damaged) = reopened(directory.path(), &path, &bytes[..cut]);
        assert_eq!(found, entries[..whole], "cut at {cut}");
        assert_eq!(damaged, 0, "what a crash has left of the last record is no damage");
    }
}

#[test]
fn a_changed_byte_anywhere_costs_the_record_it_lies_in_and_no_other() {
    let directory = TempDir::new().unwrap();
    let (entries, path, bytes) = filled(directory.path(), 5);
    let mut at = 0;
    for number in 0..entries.len() {
        let length = frame::first(&bytes[at..]).unwrap().bytes;
        for byte in at..at + length {
            let mut changed = bytes.clone();
            changed[byte] ^= 1 << (byte % 8);
            let (found, damaged) = reopened(directory.path(), &path, &changed);
            let mut expected = entries.clone();
            expected.remove(number);
            assert_eq!(found, expected, "byte {byte}");
            let is_last = number == entries.len() - 1;
            assert_eq!(damaged, if is_last { 0 } else { u64::try_from(length).unwrap() }, "byte {byte}");
        }
        at += length;
    }
}

#[test]
fn damage_that_is_larger_than_what_is_read_at_once_is_skipped() {
    let directory = TempDir::new().unwrap();
    let (entries, path, bytes) = filled(directory.path(), 4);
    let first = frame::first(&bytes).unwrap().bytes;
    for hole in [1, frame::MAX_FRAME_BYTES - 1, 2 * frame::MAX_FRAME_BYTES, 5 * frame::MAX_FRAME_BYTES + 7] {
        for filler in [0_u8, 1, 0xff] {
            let changed = [&bytes[..first], &vec![filler; hole], &bytes[first..]].concat();
            let (found, damaged) = reopened(directory.path(), &path, &changed);
            assert_eq!(found, entries, "{hole} bytes of {filler}");
            assert_eq!(damaged, u64::try_from(hole).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_never_taken_for_a_call_and_stops_nobody(garbage in prop::collection::vec(any::<u8>(), 0..4_096), short: bool) {
        let directory = TempDir::new().unwrap();
        let mut bytes = garbage.clone();
        if short {
            // Lengths that look right.
            bytes.iter_mut().skip(2).step_by(4).for_each(|byte| *byte = 0);
            bytes.iter_mut().skip(3).step_by(4).for_each(|byte| *byte = 0);
        }
        let (found, _) = reopened(directory.path(), &directory.path().join("00000007.log"), &bytes);
        prop_assert!(found.is_empty());
        // Behind a right checksum as well: a record of another program.
        for version in 0..=4 {
            let frame = frame::Frame { version, payload: &garbage, bytes: 0 };
            let mut found = Vec::new();
            let count = record::decode_frame(&frame, &mut KnownTexts::default(), &mut found);
            prop_assert_eq!(count.unwrap_or(0), found.len());
        }
    }
}

#[test]
fn what_many_threads_append_is_read_once_while_it_comes_and_in_each_threads_order() {
    const THREADS: u64 = 6;
    const EACH: u64 = 800;
    let directory = TempDir::new().unwrap();
    // Small segments, so that many are begun.
    let (journal, from) =
        Journal::begin(JournalFiles::open(directory.path()).unwrap(), None, 64 << 10).unwrap();
    let journal = Arc::new(journal);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let journal = Arc::clone(&journal);
            thread::spawn(move || {
                for number in 0..EACH {
                    journal.append(encode(&entry(thread * EACH + number)).unwrap()).unwrap();
                }
            })
        })
        .collect();
    let (mut reader, mut entries, mut at) = (JournalReader::default(), Vec::new(), from);
    while u64::try_from(entries.len()).unwrap() < THREADS * EACH {
        let end = journal.end_place();
        if at < end {
            let reading = reader.read(journal.files(), at, end, 100, &mut entries).unwrap();
            assert_eq!((reading.damaged_bytes, reading.unreadable), (0, 0));
            at = reading.to;
            journal.remove_before(at.segment).unwrap();
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(at, journal.end_place());
    assert!(at.segment > 10, "only {} segments", at.segment);
    assert!(journal.bytes() <= 16 << 10, "{} bytes remain of what was read", journal.bytes());
    let ids: HashSet<CallId> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), entries.len());
    for thread in 0..THREADS {
        let of_thread: Vec<u64> =
            entries.iter().map(|entry| entry.duration_us).filter(|number| number / EACH == thread).collect();
        assert_eq!(of_thread, (thread * EACH..(thread + 1) * EACH).collect::<Vec<_>>());
    }
}

#[test]
fn records_that_are_gathered_are_written_together_by_the_first_that_must_be_safe() {
    let directory = TempDir::new().unwrap();
    let (journal, from) = begin(directory.path());
    let entries: Vec<LedgerEntry> = (0..3).map(entry).collect();
    let gather = |entry: &LedgerEntry| journal.gather(&Record::of(entry).unwrap()).unwrap();
    let (first, second) = (gather(&entries[0]), gather(&entries[1]));
    assert_eq!(journal.end_place(), from, "nothing is there before it is wanted");
    assert_eq!(journal.commit(first), 2, "the second goes along");
    assert_eq!(rest(&journal, from).0, entries[..2]);
    assert_eq!(journal.commit(second), 0, "it is there already");
    gather(&entries[2]);
    assert_eq!(journal.close(), 0, "closing writes what is gathered");
    assert_eq!(journal.gather(&Record::of(&entries[0]).unwrap()), None);
    assert_eq!(rest(&journal, from).0, entries);
}

/// So many calls: of every seven one is alone, the others are of three kinds.
fn mixed(count: u64) -> Vec<LedgerEntry> {
    let kind = |number: u64| match number % 7 {
        0 => entry(number),
        1 | 2 => LedgerEntry { finish_reason: Some("length".into()), ..plain(number) },
        3 => LedgerEntry { streamed: true, ..plain(number) },
        _ => plain(number),
    };
    (0..count).map(kind).collect()
}

fn in_order(mut entries: Vec<LedgerEntry>) -> Vec<LedgerEntry> {
    entries.sort_by_key(|entry| entry.duration_us);
    entries
}

#[test]
fn gathered_calls_that_are_alike_share_a_frame_and_are_read_as_they_were() {
    let directory = TempDir::new().unwrap();
    let (journal, from) = begin(directory.path());
    let entries = mixed(70);
    let alone: usize = entries.iter().map(|entry| encode(entry).unwrap().len()).sum();
    for entry in &entries {
        journal.gather(&Record::of(entry).unwrap()).unwrap();
    }
    assert_eq!(journal.commit_all(), 70);
    let bytes = fs::read(directory.path().join("00000001.log")).unwrap();
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(frame) = frame::first(&bytes[at..]) {
        at += frame.bytes;
        frames.push(record::count(&frame));
    }
    assert_eq!((at, frames.len()), (bytes.len(), 13), "ten alone, and one for each of three kinds");
    assert_eq!(frames.iter().sum::<u64>(), 70);
    assert!(bytes.len() < alone * 2 / 3, "{} bytes, and {alone} one by one", bytes.len());
    let (found, damaged) = rest(&journal, from);
    assert_eq!((in_order(found), damaged), (entries, 0));
    let counted = JournalReader::default().count(journal.files(), from, journal.end_place()).unwrap();
    assert_eq!(counted, 70);
}

#[test]
fn a_group_that_is_cut_or_changed_anywhere_costs_no_other() {
    let directory = TempDir::new().unwrap();
    let (entries, path, bytes) = {
        let (journal, _) = begin(directory.path());
        let entries: Vec<LedgerEntry> = (0..9).map(plain).collect();
        for group in entries.chunks(3) {
            for entry in group {
                journal.gather(&Record::of(entry).unwrap()).unwrap();
            }
            assert_eq!(journal.commit_all(), 3);
        }
        let path = directory.path().join("00000001.log");
        let bytes = fs::read(&path).unwrap();
        (entries, path, bytes)
    };
    let first = frame::first(&bytes).unwrap().bytes;
    let second = first + frame::first(&bytes[first..]).unwrap().bytes;
    for cut in second..bytes.len() {
        let (found, damaged) = reopened(directory.path(), &path, &bytes[..cut]);
        assert_eq!((&found[..], damaged), (&entries[..6], 0), "cut at {cut}");
    }
    for byte in first..second {
        let mut changed = bytes.clone();
        changed[byte] ^= 1 << (byte % 8);
        let (found, damaged) = reopened(directory.path(), &path, &changed);
        assert_eq!(found, [&entries[..3], &entries[6..]].concat(), "byte {byte}");
        assert_eq!(damaged, u64::try_from(second - first).unwrap(), "byte {byte}");
    }
}

#[test]
fn calls_of_many_kinds_and_very_many_of_one_are_all_there() {
    let directory = TempDir::new().unwrap();
    let (journal, from) = begin(directory.path());
    let kinds = (0..300)
        .map(|number| LedgerEntry { model: Some(format!("m{}", number % 9).into()), ..plain(number) });
    let entries: Vec<LedgerEntry> = kinds.chain((300..700).map(plain)).collect();
    for entry in &entries {
        journal.gather(&Record::of(entry).unwrap()).unwrap();
    }
    assert_eq!(journal.commit_all(), 700);
    assert_eq!(in_order(rest(&journal, from).0), entries);
}

#[test]
fn a_call_with_anything_more_to_say_is_a_record_for_itself() {
    let has_group = |entry: &LedgerEntry| matches!(Record::of(entry), Some(Record::Alike(_)));
    assert!(has_group(&plain(1)));
    let attempt = plain(1).attempts.remove(0);
    let with_attempts = |attempts: Vec<Attempt>| LedgerEntry { attempts, ..plain(1) };
    for more in [
        LedgerEntry { tags: Tags::parse("app=search").unwrap(), ..plain(1) },
        LedgerEntry { dropped: vec!["seed".into()], ..plain(1) },
        LedgerEntry { cache: Some(CacheState::Bypass), ..plain(1) },
        LedgerEntry { exposure: entry(1).exposure, ..plain(1) },
        LedgerEntry { upstream_model: Some("another".into()), ..plain(1) },
        LedgerEntry { provider: None, ..plain(1) },
        with_attempts(vec![]),
        with_attempts(vec![attempt.clone(), attempt.clone()]),
        with_attempts(vec![Attempt { failure: Some("timeout".into()), ..attempt.clone() }]),
        with_attempts(vec![Attempt { status: Some(201), ..attempt.clone() }]),
        with_attempts(vec![Attempt { used: entry(1).attempts[0].used.clone(), ..attempt }]),
    ] {
        assert!(!has_group(&more), "{more:?}");
    }
}

#[test]
fn gathered_records_that_the_disk_does_not_take_wait_behind_those_that_wait_already() {
    let directory = TempDir::new().unwrap();
    let (journal, from) = begin(directory.path());
    // The two in the middle are one frame.
    let entries = [entry(0), plain(1), plain(2), entry(3)];
    let segment = directory.path().join("00000001.log");
    // No file can be made where a directory is.
    fs::create_dir(&segment).unwrap();
    assert_eq!(journal.append(encode(&entries[0]).unwrap()), Some(0));
    journal.gather(&Record::of(&entries[1]).unwrap()).unwrap();
    let number = journal.gather(&Record::of(&entries[2]).unwrap()).unwrap();
    assert_eq!(journal.commit(number), 0);
    assert!(journal.is_failing() && journal.waiting() == 3);
    fs::remove_dir(&segment).unwrap();
    let number = journal.gather(&Record::of(&entries[3]).unwrap()).unwrap();
    assert_eq!(journal.commit(number), 4);
    assert!(!journal.is_failing() && journal.waiting() == 0);
    assert_eq!(rest(&journal, from).0, entries);
}

#[test]
fn a_disk_that_takes_nothing_makes_records_wait_in_their_order() {
    let directory = TempDir::new().unwrap();
    let (there, away) = (directory.path().join("journal"), directory.path().join("away"));
    // Every record begins a segment, which is what fails without the directory.
    let (journal, from) = Journal::begin(JournalFiles::open(&there).unwrap(), None, 0).unwrap();
    let entries: Vec<LedgerEntry> = (0..5).map(entry).collect();
    let append = |number: usize| journal.append(encode(&entries[number]).unwrap());
    assert_eq!(append(0), Some(1));
    fs::rename(&there, &away).unwrap();
    assert_eq!((append(1), append(2), journal.retry()), (Some(0), Some(0), 0));
    assert!(journal.is_failing() && journal.waiting() == 2);
    fs::rename(&away, &there).unwrap();
    // Whoever comes next takes the waiting ones along.
    assert_eq!(append(3), Some(3));
    assert!(!journal.is_failing() && journal.waiting() == 0);
    assert_eq!(append(4), Some(1));
    assert_eq!(rest(&journal, from), (entries, 0));
    assert_eq!(journal.close(), 0);
    assert_eq!(journal.append(encode(&entry(9)).unwrap()), None);
}

#[test]
fn the_database_says_where_to_go_on_whatever_is_missing_of_the_journal() {
    let directory = TempDir::new().unwrap();
    let first = {
        let (journal, from) = begin(directory.path());
        for number in 0..4 {
            journal.append(encode(&entry(number)).unwrap());
        }
        let mut read = Vec::new();
        JournalReader::default().read(journal.files(), from, journal.end_place(), 2, &mut read).unwrap().to
    };
    let open =
        |written| Journal::begin(JournalFiles::open(directory.path()).unwrap(), written, LIMIT).unwrap();
    let numbers = |(journal, from): &(Journal, Place)| -> Vec<u64> {
        rest(journal, *from).0.iter().map(|entry| entry.duration_us).collect()
    };
    assert_eq!(numbers(&open(None)), [0, 1, 2, 3]);
    assert_eq!(numbers(&open(Some(first))), [2, 3]);
    // A loss of power took what the database has already.
    assert!(numbers(&open(Some(Place { segment: 1, offset: 1 << 20 }))).is_empty());
    let beyond = open(Some(Place { segment: 9, offset: 5 }));
    beyond.0.append(encode(&entry(7)).unwrap());
    assert_eq!(numbers(&beyond), [7]);
    assert!(beyond.0.end_place().segment > 9, "a place that the database knows is never used again");
}

#[test]
fn a_journal_belongs_to_one_and_keeps_its_id() {
    let directory = TempDir::new().unwrap();
    let files = JournalFiles::open(directory.path()).unwrap();
    let id = files.id().to_owned();
    let refused = JournalFiles::open(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::JournalInUse { .. }), "{refused:?}");
    drop(files);
    assert_eq!(JournalFiles::open(directory.path()).unwrap().id(), id);
}

#[test]
fn the_largest_call_has_room_in_a_record() {
    let long = || "x".repeat(100_000).into();
    let mut tags = Tags::default();
    for number in 0..16 {
        tags.insert(format!("{:a<64}", format!("t{number}")), "v".repeat(256)).unwrap();
    }
    let largest = LedgerEntry {
        organization_id: Some(long()),
        key_id: Some(long()),
        team_id: Some(long()),
        end_user: Some(long()),
        dialect: long(),
        operation: long(),
        model: Some(long()),
        provider: Some(long()),
        upstream_model: Some(long()),
        key_label: Some(long()),
        failure: Some(long()),
        finish_reason: Some(long()),
        prices: Some(long()),
        tags,
        attempts: vec![
            Attempt {
                target: long(),
                failure: Some(long()),
                status: Some(u16::MAX),
                duration_us: u64::MAX,
                used: Some(AttemptUsage {
                    prices: Some(long()),
                    cost_nanodollars: Some(u64::MAX),
                    ..AttemptUsage::new(
                        &Usage {
                            input: u64::MAX,
                            cache_read: u64::MAX,
                            cache_write_5m: u64::MAX,
                            cache_write_1h: u64::MAX,
                            input_audio: u64::MAX,
                            output: u64::MAX,
                            reasoning: u64::MAX,
                            output_audio: u64::MAX,
                            web_searches: u64::MAX,
                        },
                        true,
                    )
                }),
            };
            500
        ],
        dropped: vec![long(); 500],
        ..entry(u64::MAX)
    };
    let bytes = encode(&largest).unwrap();
    let frame = frame::first(&bytes).unwrap();
    let found = record::decode(frame.version, frame.payload, &mut KnownTexts::default()).unwrap();
    assert_eq!(found.model.unwrap().len(), 512);
    assert_eq!(found.tags, largest.tags);
}

#[test]
fn a_record_of_any_layout_is_read_for_ever() {
    let fixed =
        |number| LedgerEntry { id: "01a204d4-0c17-70ed-87d5-c4613859f63c".parse().unwrap(), ..entry(number) };
    // The first layout knew nothing of what attempts used for nothing, the second only some of it.
    let (mut first, mut second) = (fixed(33), fixed(33));
    first.attempts[0].used = None;
    let some = Usage { input: 7, output: 33, ..Usage::default() };
    second.attempts[0].used =
        Some(AttemptUsage { cost_nanodollars: Some(9), ..AttemptUsage::new(&some, true) });
    let id = |digit: u8| format!("01a204d4-0c17-70ed-87d5-c4613859f63{digit}").parse().unwrap();
    let group = [7, 8].map(|number| LedgerEntry { id: id(number), ..plain(number.into()) });
    for (record, expected) in [
        (include_str!("record_v1.hex"), vec![first]),
        (include_str!("record_v2.hex"), vec![second]),
        (include_str!("record_v3.hex"), vec![fixed(55)]),
        (include_str!("record_v4.hex"), group.to_vec()),
    ] {
        let digits = record.trim().as_bytes().chunks(2);
        let bytes: Vec<u8> = digits
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect();
        let frame = frame::first(&bytes).unwrap();
        let mut found = Vec::new();
        record::decode_frame(&frame, &mut KnownTexts::default(), &mut found).unwrap();
        assert_eq!(found, expected, "layout {}", frame.version);
    }
}
