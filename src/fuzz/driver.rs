//! Runs a target without a fuzzer's help: the inputs of its corpus as they are, then changed at
//! random for a while. Knows no target.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// The seed, where the environment names none.
const SEED: u64 = 1;

/// How long an input is made by changes, in bytes.
const BYTES_MAX: usize = 4_096;

/// Numbers at whose sides something changes.
const EDGES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "125",
    "126",
    "127",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "18446744073709551616",
];

/// Runs a target for `FUZZ_SECONDS` (1 where the environment does not say) with changes that follow
/// from `FUZZ_SEED`. Says which input it was that failed.
pub(super) fn fuzz(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    corpus.iter().for_each(|input| run(target, input, SEED));
    let number = |variable| {
        let text = std::env::var(variable).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        )
    };
    let seed = number("FUZZ_SEED").unwrap_or(SEED);
    let end = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(1));
    let mut random = Rng::with_seed(seed);
    let mut count = 0_u64;
    while Instant::now() < end {
        run(target, &changed(&corpus, &mut random), seed);
        count += 1;
    }
    println!("{name}: {count} inputs by seed {seed}");
}

fn run(target: fn(&[u8]), input: &[u8], seed: u64) {
    if let Err(why) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("seed {seed}, input b\"{}\"", input.escape_ascii());
        resume_unwind(why);
    }
}

/// The inputs to begin with.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|why| panic!("{}: {why}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// An input of the corpus with a few changes.
fn changed(corpus: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let any = |random: &mut Rng| &corpus[random.usize(..corpus.len())];
    let mut input = any(random).clone();
    for _ in 0..=random.usize(..6) {
        let other = any(random);
        change(&mut input, other, random);
    }
    input.truncate(BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(..=input.len());
    match random.u8(..8) {
        0 => drop(input.drain(piece(input, random))),
        1 => {
            let piece = input[piece(input, random)].to_vec();
            input.splice(at..at, piece);
        }
        2 => {
            let piece = other[piece(other, random)].to_vec();
            input.splice(at..at, piece);
        }
        3 => {
            let (from, to) = (piece(other, random), piece(input, random));
            input.splice(to, other[from].to_vec());
        }
        4 => input.insert(at, random.u8(..)),
        5 => {
            let digits = |byte: &u8| byte.is_ascii_digit();
            let start = at
                + input[at..]
                    .iter()
                    .position(digits)
                    .unwrap_or(input.len() - at);
            let length = input[start..]
                .iter()
                .take_while(|byte| digits(byte))
                .count();
            let edge = EDGES[random.usize(..EDGES.len())];
            input.splice(start..start + length, edge.bytes());
        }
        6 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.u8(..);
            }
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.u8(..8);
            }
        }
    }
}

/// A piece of some bytes; most are short.
fn piece(bytes: &[u8], random: &mut Rng) -> std::ops::Range<usize> {
    let start = random.usize(..=bytes.len());
    let longest = if random.bool() { 8 } else { bytes.len() };
    start..start + random.usize(..=longest.min(bytes.len() - start))
}

#[test]
fn each_target_has_a_corpus_and_nothing_else_has() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut targets: Vec<_> = super::TARGETS
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    targets.sort();
    let corpora = fs::read_dir(folder).unwrap();
    let mut corpora: Vec<_> = corpora
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    corpora.sort();
    assert_eq!(corpora, targets);
}
