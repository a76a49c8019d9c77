//! The settings for who may have the feeds, and what is put together from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use log::{error, info};

use super::Options;
use super::mode::Mode;
use crate::access::{News, Tokens};
use crate::failure::Failure;
use crate::http::Credentials;
use crate::inbox::{Notice, Sender};
use crate::work::{Stop, Threads};

/// A file of tokens, and what it says.
pub(super) struct TokenFile {
    file: PathBuf,
    tokens: Tokens,
}

impl Options {
    /// Reads the file of tokens, if there is one.
    pub(super) fn tokens(&self) -> Result<Option<TokenFile>, Failure> {
        match &self.access {
            None if self.access_in_address => Err(Failure::Usage(
                "--access-in-address is of no use without --access.".to_owned(),
            )),
            None => Ok(None),
            Some(Mode::Tokens(file)) => TokenFile::read(file)
                .map(Some)
                .map_err(|why| Failure::Configuration(format!("{why} (setting --access)."))),
        }
    }

    /// Which credentials are looked at.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        self.access.as_ref().map(|_| Credentials {
            in_address: self.access_in_address,
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

    pub(super) fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// Reads the file anew when asked to, in a thread of its own, and hands it to the loop. Returns
    /// what asks it.
    pub(super) fn keep(
        self,
        inbox: Sender,
        threads: &mut Threads,
    ) -> Result<Box<dyn Fn() + Send + Sync>, Failure> {
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
