//! What of the server's settings `bugzfeed doctor` looks at.

use std::time::Duration;

use super::{FILES_PER_FEED, FILES_RESERVED, Options};
use crate::certificate::Files;
use crate::doctor::Setup;
use crate::reactor::Address;

impl Options {
    pub(in crate::command) fn setup(&self) -> Setup {
        let addresses = || self.listen.iter().flat_map(|it| &it.all);
        let ports = addresses().filter_map(|address| match address {
            Address::Tcp(address) | Address::Tls(address) => Some(address.port()),
            Address::Unix(_) => None,
        });
        let sources = self.feed.iter().map(|(_, source)| source.clone());
        let certificates = self.tls_cert.iter().zip(&self.tls_key);
        let certificates = certificates.map(|(certificate, key)| Files {
            certificate: certificate.clone(),
            key: key.clone(),
        });
        let history = self.keeps_history().then(|| self.history.clone());
        Setup {
            clients: self.connections.map(|connections| connections as u64),
            files_reserved: (FILES_RESERVED + FILES_PER_FEED * self.feed.len()) as u64,
            memory_reserve: self.memory_reserve,
            is_tls: addresses().any(|address| matches!(address, Address::Tls(_))),
            ports: ports.collect(),
            trusts_proxy: !self.trusted_proxy.is_empty(),
            counts_addresses: self.connections_per_address.is_some(),
            ping: Duration::from_millis(u64::from(self.ping)),
            sources: std::iter::once(self.source.clone())
                .chain(sources)
                .collect(),
            kept: history.map(|file| ("history", file)).into_iter().collect(),
            certificates: certificates.collect(),
            ..Setup::default()
        }
    }
}
