//! Settings, limits, disks and certificates.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::disk::Disk;
use crate::support::not_tested;
use crate::support::unprivileged::certificate;
use crate::{doctor, findings};

#[test]
fn a_server_without_settings_is_well() {
    let folder = tempfile::tempdir().unwrap();
    doctor(folder.path(), &[]).expect_well();
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it makes nothing"
    );
}

#[test]
fn what_is_found_can_be_read_with_the_line_that_mends_it_below() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    command.args(["doctor", "--", "--history", "none/history.db"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let (said, complained) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        said.contains("MEND  history: there is no folder none\n        install -d "),
        "{said}"
    );
    assert_eq!(complained, "bugzfeed: 1 thing must be mended.\n");
}

#[test]
fn a_mistake_in_the_file_of_settings_is_found_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, mistake) in [
        (
            "[serve]\nsorce = 'x'\n",
            "bugzfeed.toml:2:1: unknown setting of [serve] 'sorce'",
        ),
        ("[serve]\nping = 'soon'\n", "bugzfeed.toml:2:8: "),
        ("[relay]\nfrom = 7\n", "bugzfeed.toml:2:8: "),
    ] {
        fs::write(folder.path().join("bugzfeed.toml"), text).unwrap();
        let found = doctor(folder.path(), &["--config", "bugzfeed.toml"]);
        found.expect("settings", mistake, "bugzfeed config check");
    }
}

#[test]
fn too_few_open_files_and_too_little_memory_are_found() {
    let program = env!("CARGO_BIN_EXE_bugzfeed");
    let mut command = Command::new("sh");
    let line = format!("ulimit -n 256; exec {program} doctor --json --clients 100000000");
    let folder = tempfile::tempdir().unwrap();
    command.args(["-c", &line]).current_dir(folder.path());
    let found = findings(command.output().unwrap());
    found.expect("open files", "the limit is 256", "LimitNOFILE=100000128 ");
    found.expect("memory", "100000000 clients need 448", "MemoryMax=448");
}

#[test]
fn a_history_that_cannot_be_kept_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |history: &Path| {
        doctor(
            folder.path(),
            &["--", "--history", history.to_str().unwrap()],
        )
    };
    ask(&folder.path().join("not/there.db")).expect(
        "history",
        "there is no folder",
        "install -d -o bugzfeed",
    );
    let text = folder.path().join("text");
    fs::write(&text, "no database").unwrap();
    ask(&text).expect("history", "is no SQLite file", "mv ");
    if let Some(disk) = Disk::mount() {
        disk.fill();
        ask(&disk.file("history.db")).expect("history", "has 0 KiB left", "df -h ");
    }
}

#[test]
fn a_folder_that_the_account_may_not_write_is_found() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    command
        .args(["doctor", "--json", "--", "--history", "/var/lib/history.db"])
        .current_dir("/");
    if rustix::process::getuid().is_root() {
        // Nobody may not run what is in root's home.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("bugzfeed");
        fs::copy(env!("CARGO_BIN_EXE_bugzfeed"), &copy).unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), all).unwrap();
        let mut as_nobody = Command::new(copy);
        as_nobody
            .args(command.get_args())
            .current_dir("/")
            .uid(65_534)
            .gid(65_534);
        command = as_nobody;
        findings(command.output().unwrap()).expect(
            "history",
            "may not write /var/lib",
            "chown -R bugzfeed /var/lib",
        );
    } else {
        findings(command.output().unwrap()).expect(
            "history",
            "may not write /var/lib",
            "chown -R bugzfeed /var/lib",
        );
    }
}

#[test]
fn a_certificate_that_cannot_be_used_or_has_ended_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |pair: &Path, key: &Path| {
        let (pair, key) = (pair.to_str().unwrap(), key.to_str().unwrap());
        let listen = [
            "--",
            "--listen",
            "tls:127.0.0.1:0",
            "--tls-cert",
            pair,
            "--tls-key",
            key,
        ];
        doctor(folder.path(), &listen)
    };
    let (own, own_key) = (certificate("server.pem"), certificate("server.key"));
    ask(&own, &own_key).expect_ok("certificate");
    ask(Path::new("none.pem"), &own_key).expect(
        "certificate",
        "cannot use none.pem (setting --tls-cert)",
        "tls-cert = ",
    );
    ask(&certificate("ca.pem"), &own_key).expect(
        "certificate",
        "it is not the key of the certificate",
        "tls-cert = ",
    );
    let Some((old, old_key)) = expired(folder.path()) else {
        return not_tested("a certificate that has ended, without openssl");
    };
    ask(&old, &old_key).expect(
        "certificate",
        "has expired: it was valid until 2001-",
        "certbot renew",
    );
}

/// A certificate for `localhost` that has ended, and its key.
pub fn expired(folder: &Path) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let script = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout old.key -subj /CN=localhost -out old.csr 2>/dev/null &&
        mkdir -p ca && : > ca/index.txt && echo 01 > ca/serial &&
        printf '[ca]\\ndefault_ca=x\\n[x]\\ndatabase=ca/index.txt\\nserial=ca/serial\\nnew_certs_dir=ca\\ndefault_md=sha256\\npolicy=p\\nx509_extensions=e\\n[e]\\nsubjectAltName=DNS:localhost\\n[p]\\ncommonName=supplied\\n' > ca.cnf &&
        openssl ca -config ca.cnf -selfsign -batch -keyfile old.key -in old.csr -startdate 20000101000000Z -enddate 20010101000000Z -notext -out old.pem 2>/dev/null";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .status();
    made.is_ok_and(|status| status.success())
        .then(|| (folder.join("old.pem"), folder.join("old.key")))
}
