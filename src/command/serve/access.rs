//! The settings for who may have the feeds, and what is put together from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use log::{error, info};
use url::Url;

use super::Options;
use super::mode::Mode;
use crate::access::{News, Rights, Tokens};
use crate::asker::{Asker, OpenError, Questions};
use crate::failure::Failure;
use crate::http::{Credentials, Origin};
use crate::inbox::{Notice, Sender};
use crate::moment::Moment;
use crate::reactor::{Reactor, Socket};
use crate::server::Server;
use crate::work::{Stop, Threads};

/// What asks another thread for something, and does not wait for it.
pub(super) type Ask = Box<dyn Fn() + Send + Sync>;

/// Who may have the feeds, and what is needed for that.
pub(super) enum Guard {
    Nobody,
    Tokens(TokenFile),
    Bugzilla(Box<Bugzilla>),
}

/// A file of tokens, and what it says.
pub(super) struct TokenFile {
    file: PathBuf,
    tokens: Tokens,
}

/// A Bugzilla that decides, and who asks it.
pub(super) struct Bugzilla {
    asker: Asker,
    questions: Questions,
    stop: Stop,
    needs_login: bool,
}

impl Options {
    /// Reads the file of tokens, if there is one.
    pub(super) fn tokens(&self) -> Result<Option<TokenFile>, Failure> {
        match &self.access {
            None if self.access_in_address => Err(Failure::Usage(
                "--access-in-address is of no use without --access.".to_owned(),
            )),
            Some(Mode::Tokens(file)) => TokenFile::read(file)
                .map(Some)
                .map_err(|why| Failure::Configuration(format!("{why} (setting --access)."))),
            None | Some(Mode::Bugzilla { .. }) => Ok(None),
        }
    }

    /// Puts together what `--access` asks for, and has the server obey it.
    pub(super) fn guard(&self, server: &mut Server<Socket>) -> Result<Guard, Failure> {
        if let Some(file) = self.tokens()? {
            server.require_tokens(file.tokens.clone(), Moment(0));
            return Ok(Guard::Tokens(file));
        }
        match &self.access {
            Some(Mode::Bugzilla { needs_login }) => {
                let (bugzilla, rights) = self.bugzilla_that_decides(*needs_login)?;
                server.ask_bugzilla(rights, *needs_login);
                Ok(Guard::Bugzilla(Box::new(bugzilla)))
            }
            None | Some(Mode::Tokens(_)) => Ok(Guard::Nobody),
        }
    }

    /// The Bugzilla that decides who sees what, if one does.
    pub(super) fn decider(&self) -> Option<String> {
        let decides = matches!(self.access, Some(Mode::Bugzilla { .. }));
        decides.then(|| self.bugzilla.clone())
    }

    /// Takes back what cannot change while this Bugzilla decides, whatever `--access` says by now.
    pub(super) fn keep_to(&mut self, decider: &str) {
        decider.clone_into(&mut self.bugzilla);
        self.firehose = false;
    }

    /// Refuses what cannot be had together with a Bugzilla that decides.
    fn check_bugzilla(&self) -> Result<(), Failure> {
        let refuse = |why: &str| Err(Failure::Usage(format!("--access bugzilla {why}.")));
        if self.bugzilla.is_empty() {
            return refuse("needs --bugzilla URL, the Bugzilla that is asked");
        }
        if !self.feed.is_empty() {
            return refuse(
                "cannot have a --feed at a path of its own: a bug's number may be another bug there",
            );
        }
        if self.firehose {
            return refuse("cannot have --firehose: who sees which bug is asked bug by bug");
        }
        Ok(())
    }

    fn bugzilla_that_decides(&self, needs_login: bool) -> Result<(Bugzilla, Rights), Failure> {
        let stop = Stop::default();
        let file = (self.access_file.as_os_str() != "none").then(|| self.access_file.clone());
        let (asker, questions, start) =
            Asker::open(&self.bugzilla, file, &stop).map_err(|error| {
                let setting = match error {
                    OpenError::Address(_) => "--bugzilla",
                    OpenError::File(_) | OpenError::Database(_) => "--access-file",
                };
                Failure::Configuration(format!("{error} (setting {setting})."))
            })?;
        let mut rights = Rights::new(&start.key, self.access_interval);
        rights.remember(start.kept, Moment(0));
        let bugzilla = Bugzilla {
            asker,
            questions,
            stop,
            needs_login,
        };
        Ok((bugzilla, rights))
    }

    /// Which credentials are looked at.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let Some(access) = &self.access else {
            return Ok(None);
        };
        let cookies_of = match access {
            Mode::Tokens(_) => None,
            Mode::Bugzilla { .. } => {
                self.check_bugzilla()?;
                Some(origin_of(&self.bugzilla)?)
            }
        };
        Ok(Some(Credentials {
            in_address: self.access_in_address,
            cookies_of,
        }))
    }
}

/// The origin of the pages at this address.
fn origin_of(address: &str) -> Result<Origin, Failure> {
    let origin = Url::parse(address).map(|url| url.origin().ascii_serialization());
    let origin = origin.map_err(|why| why.to_string());
    origin
        .and_then(|origin| origin.parse())
        .map_err(|why| Failure::Configuration(format!("{address}: {why} (setting --bugzilla).")))
}

impl Guard {
    /// Starts what must go on while the server runs. Returns what asks for the file of tokens to be
    /// read anew, if there is one.
    pub(super) fn start(
        self,
        reactor: &mut Reactor,
        inbox: Sender,
        threads: &mut Threads,
    ) -> Result<Option<Ask>, Failure> {
        match self {
            Guard::Nobody => Ok(None),
            Guard::Tokens(file) => file.keep(inbox, threads).map(Some),
            Guard::Bugzilla(bugzilla) => bugzilla.start(reactor, inbox, threads).map(|()| None),
        }
    }
}

impl Bugzilla {
    fn start(
        self,
        reactor: &mut Reactor,
        inbox: Sender,
        threads: &mut Threads,
    ) -> Result<(), Failure> {
        let Self {
            asker,
            questions,
            stop,
            needs_login,
        } = self;
        let others = match needs_login {
            true => "come in",
            false => "see more than public bugs",
        };
        info!("Bugzilla decides who sees which bug; only those whom it knows {others}");
        reactor.ask_by(questions);
        let seen = stop.clone();
        let run = move || asker.run(&inbox, &seen);
        threads.start("asker", stop, run).map_err(|error| {
            Failure::Unavailable(format!(
                "cannot start a thread that asks Bugzilla: {error}."
            ))
        })
    }
}

impl TokenFile {
    fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let tokens =
            Tokens::parse(&text).map_err(|why| format!("cannot use {}: {why}", file.display()))?;
        Ok(Self {
            file: file.to_owned(),
            tokens,
        })
    }

    /// Reads the file anew when asked to, in a thread of its own, and hands it to the loop. Returns
    /// what asks it.
    fn keep(self, inbox: Sender, threads: &mut Threads) -> Result<Ask, Failure> {
        info!(
            "clients need a token of {}: {} can come in",
            self.file.display(),
            self.tokens.names().count()
        );
        // Where it was asked already and not done yet, once is enough.
        let (asker, asked) = sync_channel(1);
        let stop = Stop::default();
        let (seen, waker): (Stop, SyncSender<()>) = (stop.clone(), asker.clone());
        stop.on_request(move || {
            let _ = waker.try_send(());
        });
        let run = move || {
            while asked.recv().is_ok() && !seen.is_requested() {
                match Self::read(&self.file) {
                    Ok(Self { tokens, .. }) => {
                        info!("{} was read anew", self.file.display());
                        if inbox.send(Notice::Access(News::Tokens(tokens))).is_err() {
                            return;
                        }
                    }
                    Err(why) => error!("tokens stay what they were: {why}"),
                }
            }
        };
        threads.start("tokens", stop, run).map_err(|error| {
            Failure::Unavailable(format!("cannot start a thread for tokens: {error}."))
        })?;
        Ok(Box::new(move || {
            let _ = asker.try_send(());
        }))
    }
}
