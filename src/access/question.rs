//! What passes between those who need to know who sees what, and those who ask Bugzilla. Knows no
//! thread and no HTTP.

use super::Shown;
use crate::update::BugId;

/// A question for Bugzilla.
#[derive(Debug)]
pub struct Question {
    /// The number of the question, for its answer.
    pub number: u64,
    /// Who is to see the bugs; nobody in particular, with [`Shown::Nothing`].
    pub shown: Shown,
    /// Under what the answer may be kept.
    pub digest: ReaderDigest,
    /// Which bugs; none, where the question is whether there is such a reader.
    pub bugs: Vec<BugId>,
}

/// A keyed hash of a credential: of no use without the key. That of nobody is all zero.
pub type ReaderDigest = [u8; 32];

/// What has become of a question.
#[derive(Debug)]
pub struct Answer {
    /// The number of the question.
    pub number: u64,
    /// What Bugzilla said; nothing where it said nothing that can be understood.
    pub said: Option<Said>,
}

/// What Bugzilla said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who shows this is somebody, or nobody was asked for: those of the bugs that are seen.
    Sees(Vec<BugId>),
    /// Who shows this is nobody, or not any more; or Bugzilla shows nothing to nobody.
    Stranger,
}

/// What was said before the server's start, and counts still. Ages are in milliseconds.
#[derive(Debug, Default)]
pub struct Kept {
    /// Of each reader, whether it is somebody.
    pub readers: Vec<(ReaderDigest, bool, u32)>,
    /// Of each reader, which bugs are seen or not.
    pub verdicts: Vec<(ReaderDigest, BugId, bool, u32)>,
}
