//! What must be kept on a disk: the history, the backlog; and the certificates.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Findings, Setup};
use crate::certificate::{self, Files};
use crate::machine;
use crate::work::unix_now;

/// What a history, or a backlog, should have before it, in bytes.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// How SQLite begins each file of its own.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where what is kept is gone after a start of the machine.
const IN_MEMORY: [&str; 3] = ["/tmp", "/run", "/dev/shm"];

pub(super) fn examine(setup: &Setup, findings: &mut Findings) {
    for (setting, file) in &setup.kept {
        kept(setting, file, findings);
    }
    for files in &setup.certificates {
        certificate(files, findings);
    }
}

fn kept(setting: &'static str, file: &Path, findings: &mut Findings) {
    let shown = file.display();
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        findings.mend(
            setting,
            format!("there is no folder {}", folder.display()),
            format!(
                "install -d -o bugzfeed -g bugzfeed -m 750 {}",
                folder.display()
            ),
        );
        return;
    }
    let place = if file.exists() { file } else { folder };
    if !machine::may_write(folder) || !machine::may_write(place) {
        findings.mend(
            setting,
            format!("this account may not write {}", place.display()),
            format!("chown -R bugzfeed {}    # or run the doctor as the account that serves: sudo -u bugzfeed bugzfeed doctor …", folder.display()),
        );
        return;
    }
    if is_foreign(file) {
        findings.mend(
            setting,
            format!("{shown} is no SQLite file, or a damaged one"),
            format!("mv {shown} {shown}.damaged"),
        );
        return;
    }
    match machine::free_bytes(folder) {
        Ok(free) if free < FREE_BYTES_MIN => findings.mend(
            setting,
            format!("the disk of {shown} has {} KiB left", free / 1024),
            format!("df -h {0}; du -xh {0} | sort -h | tail    # make room, or name a file on another disk: {setting} = \"…\"", folder.display()),
        ),
        Ok(free) => findings.ok(setting, format!("{shown} can be written; its disk has {} MiB left", free >> 20)),
        Err(error) => findings.note(setting, format!("the disk of {shown} does not say what is left: {error}"), None),
    }
    let absolute = folder.canonicalize().unwrap_or_default();
    if IN_MEMORY.iter().any(|place| absolute.starts_with(place)) {
        findings.note(
            setting,
            format!("{shown} may be gone after a start of the machine"),
            Some(format!(
                "{setting} = \"/var/lib/bugzfeed/{}\"",
                file.file_name().unwrap_or_default().display()
            )),
        );
    }
}

/// Whether a file is there that SQLite has not made.
fn is_foreign(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|file| {
        let length = MAGIC.len() as u64;
        file.take(length).read_to_end(&mut start)
    });
    read.is_ok_and(|bytes| bytes > 0) && start != MAGIC
}

fn certificate(files: &Files, findings: &mut Findings) {
    let shown = files.certificate.display();
    match certificate::end_of(files) {
        Err(why) => findings.mend(
            "certificate",
            why,
            "tls-cert = \"/etc/letsencrypt/live/HOST/fullchain.pem\"    # and tls-key = \"…/privkey.pem\", readable by bugzfeed",
        ),
        Ok(end) => match certificate::warning(end, unix_now()) {
            Some(warning) => findings.mend(
                "certificate",
                format!("the certificate in {shown} {warning}"),
                "certbot renew --deploy-hook 'systemctl reload bugzfeed'",
            ),
            None => findings.ok("certificate", format!("the one in {shown} is valid for more than two weeks")),
        },
    }
}
