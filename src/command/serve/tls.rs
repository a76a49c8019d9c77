//! The settings for TLS, and what is put together from them.

use std::path::PathBuf;
use std::sync::Arc;

use super::Options;
use super::sockets::Sockets;
use crate::certificate::{Certificates, Files, Keeper, Tickets};
use crate::failure::Failure;
use crate::reactor::Address;
use crate::secure::Sessions;
use crate::work::{Stop, Threads, unix_now};

/// What TLS needs.
pub(super) struct Tls {
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
}

impl Options {
    /// Reads what the settings for TLS name, where there is an address for it.
    pub(super) fn tls(&self, sockets: Sockets) -> Result<Option<Tls>, Failure> {
        let Some(certificates) = self.certificates(sockets)? else {
            return Ok(None);
        };
        let file = &self.tls_tickets;
        let kept: Option<PathBuf> = (file.as_os_str() != "none").then(|| file.clone());
        let tickets = Tickets::open(kept, unix_now()).map_err(|error| {
            Failure::Configuration(format!(
                "cannot use {} (setting --tls-tickets): {error}; accepted are a private file that can be written, and none.",
                file.display()
            ))
        })?;
        Ok(Some(Tls {
            certificates: Arc::new(certificates),
            tickets: Arc::new(tickets),
        }))
    }

    /// Reads the certificates, where there is an address for them.
    ///
    /// # Errors
    /// When one cannot be used, is missing, or of no use.
    pub(super) fn certificates(&self, sockets: Sockets) -> Result<Option<Certificates>, Failure> {
        let (certificates, keys) = (self.tls_cert.len(), self.tls_key.len());
        if certificates != keys {
            return Err(Failure::Usage(format!(
                "--tls-cert is given {certificates} times and --tls-key {keys} times; accepted are pairs."
            )));
        }
        match self.tls_address(sockets) {
            None if certificates > 0 => Err(Failure::Usage(
                "--tls-cert is of no use: no --listen names an address with TLS, such as tls:0.0.0.0:8845, and no socket of systemd is called tls."
                    .to_owned(),
            )),
            None => Ok(None),
            Some(address) if certificates == 0 => Err(Failure::Usage(format!(
                "{address} needs --tls-cert and --tls-key."
            ))),
            Some(_) => {
                let files = self.tls_cert.iter().zip(&self.tls_key);
                let files: Vec<_> = files
                    .map(|(certificate, key)| Files {
                        certificate: certificate.clone(),
                        key: key.clone(),
                    })
                    .collect();
                Certificates::read(&files)
                    .map(Some)
                    .map_err(|why| Failure::Configuration(format!("{why}.")))
            }
        }
    }

    /// What TLS is for, as the user knows it.
    fn tls_address(&self, sockets: Sockets) -> Option<String> {
        if let Sockets::Inherited { with_tls } = sockets {
            return with_tls.then(|| "the socket 'tls' of systemd".to_owned());
        }
        let mut addresses = self.listen.iter().flat_map(|it| &it.all);
        let address = addresses.find(|address| matches!(address, Address::Tls(_)))?;
        Some(format!("--listen {address}"))
    }
}

impl Tls {
    pub(super) fn sessions(&self) -> Sessions {
        let certificates = Arc::clone(&self.certificates);
        let tickets = Arc::clone(&self.tickets);
        Sessions::new(certificates, tickets)
    }

    /// Keeps certificates and tickets' keys up to date, in a thread of its own.
    pub(super) fn keep(self, threads: &mut Threads) -> Result<Arc<Certificates>, Failure> {
        let stop = Stop::default();
        let certificates = Arc::clone(&self.certificates);
        let keeper = Keeper::new(self.certificates, self.tickets);
        let seen = stop.clone();
        threads
            .start("certificates", stop, move || keeper.run(&seen))
            .map_err(|error| {
                Failure::Unavailable(format!("cannot start a thread for certificates: {error}."))
            })?;
        Ok(certificates)
    }
}
