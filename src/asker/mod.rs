//! Asks Bugzilla who may see what, in a thread of its own: one question after the other, as the loop
//! hands them over. Owns the connection and the file of what was said; knows no client, and decides
//! nothing.

mod file;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use log::warn;

pub(crate) use file::OpenError;
use file::RightsFile;

use crate::access::{Answer, Kept, News, Question};
use crate::bugzilla::Rights;
use crate::inbox::{Notice, Sender};
use crate::work::{self, Health, Stop, unix_now};

/// The loop's end: where questions go.
#[derive(Clone, Debug)]
pub(crate) struct Questions(SyncSender<Option<Question>>);

impl Questions {
    /// Hands over a question, unless the one before is not done; returns whether it was.
    pub(crate) fn try_send(&self, question: Question) -> bool {
        self.0.try_send(Some(question)).is_ok()
    }
}

/// The work of asking, for a thread of its own.
pub(crate) struct Asker {
    bugzilla: Rights,
    questions: Receiver<Option<Question>>,
    file: Option<RightsFile>,
    health: Health,
}

/// What is known at the start.
pub(crate) struct Start {
    /// The key of the hashes under which readers are remembered.
    pub key: Vec<u8>,
    /// What was said before.
    pub kept: Kept,
}

impl Asker {
    /// Asks the Bugzilla at this address, and keeps what it says in a file, if there is one.
    ///
    /// # Errors
    /// When the address or the file cannot be used.
    pub(crate) fn open(
        address: &str,
        file: Option<PathBuf>,
        stop: &Stop,
    ) -> Result<(Self, Questions, Start), OpenError> {
        let bugzilla = Rights::of(address).map_err(OpenError::Address)?;
        let (file, start) = match file {
            Some(path) => {
                let (file, start) = RightsFile::open(&path, unix_now())?;
                (Some(file), start)
            }
            None => {
                let key = file::make_key()?;
                let kept = Kept::default();
                (None, Start { key, kept })
            }
        };
        let (sender, questions) = sync_channel(1);
        let waker = sender.clone();
        stop.on_request(move || {
            // Where it is full, the stop is seen after the question.
            let _ = waker.try_send(None);
        });
        let health = Health::new("asking who may see what at", address.to_owned());
        let asker = Self {
            bugzilla,
            questions,
            file,
            health,
        };
        Ok((asker, Questions(sender), start))
    }

    /// Answers questions until the stop is requested or the loop is gone.
    pub(crate) fn run(mut self, inbox: &Sender, stop: &Stop) {
        while let Ok(question) = self.questions.recv() {
            if stop.is_requested() {
                return;
            }
            let Some(question) = question else { continue };
            let number = question.number;
            let said = self.ask(&question);
            let news = News::Answer(Answer { number, said });
            if inbox.send(Notice::Access(news)).is_err() {
                return;
            }
        }
    }

    fn ask(&mut self, question: &Question) -> Option<crate::access::Said> {
        let at = unix_now();
        let said = work::catch_panic(|| self.bugzilla.ask(&question.shown, &question.bugs))
            .unwrap_or_else(|panicked| Err(panicked.into()));
        let said = said
            .map_err(|error| self.health.failing(&error.to_string()))
            .ok()?;
        self.health.working();
        if let Some(file) = &mut self.file
            && let Err(error) = file.keep(question, &said, at)
        {
            warn!("cannot keep what Bugzilla says (setting --access-file): {error}");
            // It is asked again after a restart, no more.
            self.file = None;
        }
        Some(said)
    }
}
