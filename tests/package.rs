//! What `.ci/release` makes: the Debian package in a minimal Debian, installed, upgraded and put back
//! while its history and backlog are in use, removed and purged; the container's image; and the files
//! beside them.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::getuid;
use tempfile::TempDir;

use support::docs;
use support::server::{PATIENCE, wait_until};
use support::{is_long, not_tested};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What stands in for systemd: it notes what it is asked for, switches units on as `preset` does, and
/// finds all of them running.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$@" >> /systemctl.log
for word; do :; done
case "$*" in
*preset*)
    wants=/etc/systemd/system/$(sed -n 's/^WantedBy=//p' "/usr/lib/systemd/system/$word").wants
    mkdir -p "$wants"
    ln -sf "/usr/lib/systemd/system/$word" "$wants/$word" ;;
*is-enabled*) echo enabled ;;
esac
"#;

/// The program as the package's account runs it.
const AS_BUGZFEED: &str = "setpriv --reuid bugzfeed --regid bugzfeed --clear-groups bugzfeed";

/// A version before this one.
const BEFORE: &str = "0.0.1-1";

/// A minimal Debian. What runs in it ends with it.
struct Debian {
    folder: TempDir,
    running: Vec<Child>,
}

impl Debian {
    /// Makes one, of the version that this machine has; `None`, said aloud, where that is not
    /// possible.
    fn make() -> Option<Self> {
        if !getuid().is_root() {
            not_tested("the Debian package, which takes root to install");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .unwrap_or("bookworm");
        let mut command = Command::new("mmdebstrap");
        command
            .args([
                "--variant=minbase",
                "--include=adduser,man-db,zsh",
                codename,
            ])
            .arg(folder.path())
            .stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            not_tested("the Debian package: mmdebstrap makes no Debian here");
            return None;
        }
        let debian = Self {
            folder,
            running: Vec::new(),
        };
        fs::set_permissions(debian.path("/"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(debian.path("/run/systemd/system")).unwrap();
        fs::write(debian.path("/usr/bin/systemctl"), SYSTEMCTL).unwrap();
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(debian.path("/usr/bin/systemctl"), all).unwrap();
        Some(debian)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.folder.path()).args(["sh", "-c", line]);
        command
            .stdin(Stdio::null())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a line of shell, which must end well; returns what was said.
    fn run(&self, line: &str) -> String {
        let output = self.command(&format!("{line} 2>&1")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {said}");
        said
    }

    /// Whether a line of shell ends well.
    fn is(&self, line: &str) -> bool {
        self.command(line)
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    /// Starts a program as the package's account, in its folder, and waits until it says that it works:
    /// whoever looks into its files before that may be in its way.
    fn start(&mut self, folder: &str, arguments: &str, sign: &str) {
        let log = self.path(&format!("{folder}/log"));
        let _ = fs::remove_file(&log);
        let line = format!("cd {folder} && exec {AS_BUGZFEED} {arguments} 2> log");
        self.running.push(self.command(&line).spawn().unwrap());
        wait_until(sign, || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.contains(sign).then_some(())
        });
    }

    fn stop_all(&mut self) {
        for mut child in self.running.drain(..) {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn install(&self, package: &Path) -> String {
        let name = package.file_name().unwrap().to_str().unwrap();
        fs::copy(package, self.path(name)).unwrap();
        self.run(&format!(
            "DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /{name}"
        ))
    }

    /// What systemd was asked for since the last question.
    fn asked_of_systemd(&self) -> String {
        let log = self.path("/systemctl.log");
        let asked = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        asked
    }

    /// Owner, group and rights of a file.
    fn rights(&self, path: &str) -> String {
        self.run(&format!("stat -c '%U:%G %a' {path}"))
            .trim()
            .to_owned()
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        self.stop_all();
    }
}

/// Makes the package, of this version or the one before.
fn package(version: Option<&str>) -> PathBuf {
    let mut command = Command::new(format!("{ROOT}/.ci/release"));
    command.args(["--deb", "--profile", "dev"]);
    command.args(
        version
            .iter()
            .flat_map(|version| ["--deb-version", version]),
    );
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let made = said.split_whitespace().find(|word| word.ends_with(".deb"));
    let name = Path::new(made.unwrap()).file_name().unwrap();
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| format!("{ROOT}/target"));
    let kept = std::env::temp_dir().join(name);
    fs::copy(Path::new(&target).join("release-files").join(name), &kept).unwrap();
    kept
}

#[test]
#[ignore = "takes minutes: run tests/run --long"]
fn the_package_is_installed_upgraded_put_back_removed_and_purged() {
    if !is_long("the Debian package") {
        return;
    }
    let Some(mut debian) = Debian::make() else {
        return;
    };
    let (before, now) = (package(Some(BEFORE)), package(None));

    debian.install(&before);
    let asked = debian.asked_of_systemd();
    assert!(
        asked.contains("start bugzfeed.socket bugzfeed.service"),
        "{asked}"
    );
    // As the units make them, and run what is in them.
    debian
        .run("install -d -o bugzfeed -g bugzfeed -m 700 /var/lib/bugzfeed /var/lib/bugzfeed-relay");
    expect_installed(&debian);

    debian.run("sed -i 's/^#listen = .*/listen = \"unix:feed.sock\"/' /etc/bugzfeed/bugzfeed.toml");
    let serve = "serve --config /etc/bugzfeed/bugzfeed.toml";
    let relay = "relay --config /etc/bugzfeed/bugzfeed-relay.toml --from sqlite:changes.db --to http://127.0.0.1:9/ --backlog backlog.db";
    let notify = |debian: &Debian, bug: u32| {
        wait_until("the tables are there", || {
            let record = format!(
                "cd /var/lib/bugzfeed && {AS_BUGZFEED} notify {bug} && cd ../bugzfeed-relay && {AS_BUGZFEED} notify {bug} --source sqlite:changes.db"
            );
            debian.is(&record).then_some(())
        });
    };
    debian.start("/var/lib/bugzfeed", serve, "reading updates from");
    debian.start("/var/lib/bugzfeed-relay", relay, "taking changes from");
    notify(&debian, 1);
    expect_kept(&debian, 1);

    let said = debian.install(&now);
    assert!(said.contains("Setting up bugzfeed"), "{said}");
    let asked = debian.asked_of_systemd();
    assert!(asked.contains("try-restart bugzfeed.service"), "{asked}");
    expect_installed(&debian);
    debian.stop_all();
    debian.start("/var/lib/bugzfeed", serve, "reading updates from");
    debian.start("/var/lib/bugzfeed-relay", relay, "taking changes from");
    notify(&debian, 2);
    expect_kept(&debian, 2);

    // Settings that the other version does not take leave the one that runs alone.
    debian.run("cp -p /etc/bugzfeed/bugzfeed.toml /good && echo 'nonsense = 1' >> /etc/bugzfeed/bugzfeed.toml");
    let said = debian.install(&before);
    assert!(
        said.contains("unknown setting of [serve] 'nonsense'"),
        "{said}"
    );
    assert!(
        said.contains("the running bugzfeed.service was not restarted"),
        "{said}"
    );
    let asked = debian.asked_of_systemd();
    assert!(!asked.contains("try-restart bugzfeed.service"), "{asked}");
    debian.run("cp -p /good /etc/bugzfeed/bugzfeed.toml");
    debian.stop_all();
    debian.start("/var/lib/bugzfeed", serve, "reading updates from");
    debian.start("/var/lib/bugzfeed-relay", relay, "taking changes from");
    notify(&debian, 3);
    expect_kept(&debian, 3);
    debian.stop_all();

    debian.run("dpkg -r bugzfeed");
    assert!(debian.asked_of_systemd().contains("stop bugzfeed.socket"));
    assert!(!debian.path("/usr/bin/bugzfeed").exists());
    assert!(debian.path("/var/lib/bugzfeed/bugzfeed.db").exists());
    assert!(debian.path("/etc/bugzfeed/bugzfeed.toml").exists());
    debian.run("dpkg -P bugzfeed");
    for gone in [
        "/etc/bugzfeed",
        "/var/lib/bugzfeed",
        "/var/lib/bugzfeed-relay",
    ] {
        assert!(!debian.path(gone).exists(), "{gone}");
    }
    assert!(!debian.is("getent passwd bugzfeed"));
    let left =
        debian.run("find / -xdev -name '*bugzfeed*' -not -name '*.deb' -not -path '/proc/*'");
    assert_eq!(left, "");
}

/// Expects the files and the rights that docs/operations.md tells of.
fn expect_installed(debian: &Debian) {
    for (path, rights) in [
        ("/usr/bin/bugzfeed", "root:root 755"),
        ("/etc/bugzfeed", "root:bugzfeed 750"),
        ("/etc/bugzfeed/bugzfeed.toml", "root:bugzfeed 640"),
        ("/etc/bugzfeed/bugzfeed-relay.toml", "root:bugzfeed 640"),
        ("/etc/bugzfeed/bugzfeed-guard.env", "root:bugzfeed 640"),
        ("/usr/lib/systemd/system/bugzfeed.service", "root:root 644"),
        ("/usr/lib/systemd/system/bugzfeed@.service", "root:root 644"),
        ("/usr/share/man/man1/bugzfeed-serve.1.gz", "root:root 644"),
        (
            "/usr/share/bash-completion/completions/bugzfeed",
            "root:root 644",
        ),
        (
            "/usr/share/zsh/vendor-completions/_bugzfeed",
            "root:root 644",
        ),
    ] {
        assert_eq!(debian.rights(path), rights, "{path}");
    }
    for unit in [
        "multi-user.target.wants/bugzfeed.service",
        "sockets.target.wants/bugzfeed.socket",
    ] {
        let link = debian.path(&format!("/etc/systemd/system/{unit}"));
        assert!(link.symlink_metadata().is_ok(), "{unit} is not switched on");
    }
    for unit in ["bugzfeed-relay.service", "bugzfeed-guard.service"] {
        let link = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
        assert!(
            debian.path(&link).symlink_metadata().is_err(),
            "{unit} is switched on"
        );
    }
    debian.run("man -w bugzfeed-serve");
    let blocks = docs::blocks(&docs::section("operations.md", "Install"), "sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    let of_program =
        lines.filter(|line| line.contains("bugzfeed config") || line.contains("bugzfeed doctor"));
    let shown = of_program
        .map(|line| debian.run(&format!("( {line}\n)")))
        .count();
    assert_eq!(shown, 2, "the page's own commands");
    for (command, file) in [("serve", "bugzfeed"), ("relay", "bugzfeed-relay")] {
        debian.run(&format!(
            "{AS_BUGZFEED} config show {command} --config /etc/bugzfeed/{file}.toml"
        ));
    }
}

/// Expects that history and backlog hold all changes up to this bug, private to the account.
fn expect_kept(debian: &Debian, bugs: i64) {
    let count = |file: &str, query: &str| {
        let database = rusqlite::Connection::open(debian.path(file)).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        database
            .query_row(query, [], |row| row.get::<_, i64>(0))
            .unwrap_or(0)
    };
    wait_until("the history is whole", || {
        let kept = count(
            "/var/lib/bugzfeed/bugzfeed.db",
            "SELECT count(DISTINCT bug_id) FROM history",
        );
        (kept == bugs).then_some(())
    });
    wait_until("the backlog is whole", || {
        let status = debian
            .run("cd /var/lib/bugzfeed-relay && bugzfeed relay --backlog backlog.db --status");
        let mut lines = status.lines().map(str::split_whitespace);
        let waiting = lines.any(|line| line.eq(["waiting:", &bugs.to_string()]));
        waiting.then_some(())
    });
    let account = fs::metadata(debian.path("/var/lib/bugzfeed"))
        .unwrap()
        .uid();
    let history = fs::metadata(debian.path("/var/lib/bugzfeed/bugzfeed.db")).unwrap();
    assert_eq!(history.uid(), account);
}

#[test]
#[ignore = "needs docker-compose and HAProxy: run tests/run"]
fn the_files_for_containers_are_sound() {
    let folder = Path::new(ROOT).join("docs/docker");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&folder);
        command.env("DB_PASSWORD", "x").env("BROKER_PASSWORD", "x");
        let output = command
            .output()
            .unwrap_or_else(|_| panic!("{program} is needed"));
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    };
    run("docker-compose", &["-f", "compose.yaml", "config", "-q"]);
    run("/usr/sbin/haproxy", &["-c", "-q", "-f", "haproxy.cfg"]);
    let dockerfile = fs::read_to_string(folder.join("Dockerfile")).unwrap();
    assert!(dockerfile.contains("\nFROM scratch\n"));
}
