//! The settings for TLS, and what is put together from them.

use std::path::PathBuf;
use std::sync::Arc;

use super::Options;
use crate::certificate::{Certificates, Files, Keeper, Reload, Tickets};
use crate::failure::Failure;
use crate::reactor::{Address, Listener};
use crate::secure::Sessions;
use crate::work::{Stop, Threads, unix_now};

/// What TLS needs.
pub(super) struct Tls {
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
}

impl Options {
    /// Reads what the settings for TLS name, where there is an address for it.
    /// Sockets that were handed over stand in for `--listen`.
    pub(super) fn tls(&self, inherited: &[Listener]) -> Result<Option<Tls>, Failure> {
        let tls_address = self.tls_address(inherited);
        let (certificates, keys) = (self.tls_cert.len(), self.tls_key.len());
        if certificates != keys {
            return Err(Failure::Usage(format!(
                "--tls-cert is given {certificates} times and --tls-key {keys} times; accepted are pairs."
            )));
        }
        match tls_address {
            None if certificates > 0 => Err(Failure::Usage(
                "--tls-cert is of no use: no --listen names an address with TLS, such as tls:0.0.0.0:8845, and no socket of systemd is called tls."
                    .to_owned(),
            )),
            None => Ok(None),
            Some(address) if certificates == 0 => Err(Failure::Usage(format!(
                "{address} needs --tls-cert and --tls-key."
            ))),
            Some(_) => self.read_tls().map(Some),
        }
    }

    /// What TLS is for, as the user knows it.
    fn tls_address(&self, inherited: &[Listener]) -> Option<String> {
        if !inherited.is_empty() {
            let mut listeners = inherited.iter();
            let has_tls = listeners.any(|listener| matches!(listener, Listener::Tls(_)));
            return has_tls.then(|| "the socket 'tls' of systemd".to_owned());
        }
        let mut addresses = self.listen.iter().flat_map(|it| &it.all);
        let address = addresses.find(|address| matches!(address, Address::Tls(_)))?;
        Some(format!("--listen {address}"))
    }

    fn read_tls(&self) -> Result<Tls, Failure> {
        let files = self.tls_cert.iter().zip(&self.tls_key);
        let files = files.map(|(certificate, key)| Files {
            certificate: certificate.clone(),
            key: key.clone(),
        });
        let certificates = Certificates::read(files.collect())
            .map_err(|why| Failure::Configuration(format!("{why}.")))?;
        let file = &self.tls_tickets;
        let kept: Option<PathBuf> = (file.as_os_str() != "none").then(|| file.clone());
        let tickets = Tickets::open(kept, unix_now()).map_err(|error| {
            Failure::Configuration(format!(
                "cannot use {} (setting --tls-tickets): {error}; accepted are a private file that can be written, and none.",
                file.display()
            ))
        })?;
        Ok(Tls {
            certificates: Arc::new(certificates),
            tickets: Arc::new(tickets),
        })
    }
}

impl Tls {
    /// The certificates.
    pub(super) fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    pub(super) fn sessions(&self) -> Sessions {
        let certificates = Arc::clone(&self.certificates);
        let tickets = Arc::clone(&self.tickets);
        Sessions::new(certificates, tickets)
    }

    /// Keeps certificates and tickets' keys up to date, in a thread of its own.
    pub(super) fn keep(self, threads: &mut Threads) -> Result<Reload, Failure> {
        let stop = Stop::default();
        let (keeper, reload) = Keeper::new(self.certificates, self.tickets, &stop);
        let seen = stop.clone();
        threads
            .start("certificates", stop, move || keeper.run(&seen))
            .map_err(|error| {
                Failure::Unavailable(format!("cannot start a thread for certificates: {error}."))
            })?;
        Ok(reload)
    }
}
