//! The units in a systemd that really runs: in a minimal Debian of its own, as the first process of
//! namespaces of its own, from which nothing of this machine can be reached.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::getuid;
use tempfile::TempDir;

use crate::restart::{change, expect_no_refusal};
use crate::support::client::Client;
use crate::support::server::{wait_until, wait_within};
use crate::support::{is_long, not_tested};
use crate::units::units;

/// Becomes systemd: mounts what it needs into the folder `$1`, and makes that all there is.
const INIT: &str = r#"
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=multi-user.target
"#;

/// Clients whose server is restarted by systemd.
const CLIENTS: usize = 5_000;

/// How long a start of systemd or of a service may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A Debian with a systemd that runs. It ends with this.
struct Machine {
    folder: TempDir,
    init: Child,
    /// The systemd, as this machine sees it.
    systemd: u32,
    /// Where the server listens.
    address: SocketAddr,
}

impl Machine {
    /// Boots one; `None`, said aloud, where that is not possible.
    fn boot() -> Option<Self> {
        if !getuid().is_root() {
            not_tested("a booted systemd, which takes root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("mmdebstrap")
            .args(["--variant=minbase", "--include=systemd,util-linux,procps"])
            .arg("bookworm")
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            not_tested("a booted systemd: mmdebstrap makes no Debian here");
            return None;
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        install(&folder, address);
        let init = Command::new("unshare")
            .args([
                "--pid",
                "--mount",
                "--ipc",
                "--uts",
                "--cgroup",
                "--fork",
                "--kill-child",
            ])
            .args(["sh", "-c", INIT, "sh"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", init.id());
        let systemd = wait_until("the first process", || {
            fs::read_to_string(&children).ok()?.trim().parse().ok()
        });
        let machine = Self {
            folder,
            init,
            systemd,
            address,
        };
        wait_within(PATIENCE, "systemd to have started", || {
            let state = machine.run("systemctl is-system-running 2>/dev/null || true");
            ["running", "degraded"]
                .contains(&state.trim())
                .then_some(())
        });
        Some(machine)
    }

    /// What a line of shell says in there.
    fn run(&self, line: &str) -> String {
        let output = Command::new("nsenter")
            .args(["--all", "--target", &self.systemd.to_string()])
            .args(["sh", "-c", line])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// Waits until a property of the server's unit has a value.
    fn wait_for(&self, property: &str, value: &str) {
        wait_within(PATIENCE, &format!("{property}={value}"), || {
            let line = format!("systemctl show --property={property} --value bugzfeed");
            (self.run(&line).trim() == value).then_some(())
        });
    }

    /// Waits until the server's journal has a line of this priority with this text.
    fn wait_for_log(&self, priority: &str, text: &str) {
        let line = format!(
            "journalctl --quiet --output=cat --unit=bugzfeed --priority={priority}..{priority}"
        );
        wait_within(PATIENCE, text, || {
            self.run(&line).contains(text).then_some(())
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What it has started dies with the first process of its namespace.
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}

/// Puts the program, the units and their settings into a Debian.
fn install(folder: &TempDir, address: SocketAddr) {
    let path = |path: &str| folder.path().join(path);
    fs::copy(env!("CARGO_BIN_EXE_bugzfeed"), path("usr/bin/bugzfeed")).unwrap();
    for unit in [units("service"), units("socket")].concat() {
        let name = unit.file_name().unwrap();
        fs::copy(&unit, path("usr/lib/systemd/system").join(name)).unwrap();
    }
    let write = |name: &str, text: &str| {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), text).unwrap();
    };
    write(
        "etc/bugzfeed/bugzfeed.toml",
        "[serve]\nsource = 'sqlite:bugzfeed.db?poll=5ms'\n",
    );
    write(
        "etc/bugzfeed/bugzfeed-relay.toml",
        "[relay]\nfrom = 'sqlite:table.db'\nto = 'jsonl:out'\n",
    );
    write(
        "etc/systemd/system/bugzfeed.service.d/test.conf",
        "[Service]\nWatchdogSec=3s\n",
    );
    write(
        "etc/systemd/system/bugzfeed.socket.d/test.conf",
        &format!("[Socket]\nListenStream=\nListenStream={address}\n"),
    );
}

#[test]
#[ignore = "boots a systemd: run tests/run --long --test systemd"]
fn a_service_runs_is_reloaded_killed_stuck_and_restarted_under_its_clients() {
    if !is_long("a booted systemd") {
        return;
    }
    let Some(machine) = Machine::boot() else {
        return;
    };
    let said =
        machine.run("systemctl start bugzfeed.socket bugzfeed.service bugzfeed-relay.service 2>&1");
    assert_eq!(
        said,
        "",
        "{}",
        machine.run("journalctl --no-pager --unit='bugzfeed*'")
    );
    let mut client = Client::open(machine.address, "/");
    machine.wait_for("StatusText", "1 connections");
    machine.wait_for_log(
        "info",
        "systemd hands over the sockets; --listen is not used",
    );
    assert_eq!(
        machine.run("systemctl is-active bugzfeed-relay").trim(),
        "active"
    );

    let settings = machine.path("/etc/bugzfeed/bugzfeed.toml");
    let source = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{source}subscriptions = 2\n")).unwrap();
    assert_eq!(machine.run("systemctl reload bugzfeed 2>&1"), "");
    machine.wait_for_log(
        "info",
        "the settings were read anew: --subscriptions changed",
    );
    fs::write(&settings, format!("{source}subscriptoins = 3\n")).unwrap();
    machine.run("systemctl reload bugzfeed");
    machine.wait_for_log("err", "did you mean 'subscriptions'?");
    let replied = client.ask(r#"{"command":"subscribe","bugs":[1,2,3]}"#);
    assert!(replied.contains("the limit is 2"), "{replied}");
    fs::write(&settings, &source).unwrap();

    machine.run("systemctl kill --signal=KILL bugzfeed");
    machine.wait_for("NRestarts", "1");
    machine.wait_for("ActiveState", "active");
    machine.run("systemctl kill --signal=STOP bugzfeed");
    // The loop says nothing any more.
    machine.wait_for("NRestarts", "2");
    machine.wait_for("ActiveState", "active");
    Client::open(machine.address, "/");

    expect_no_refusal(
        machine.address,
        CLIENTS,
        || drop(machine.run("systemctl restart --no-block bugzfeed")),
        || {
            let database = "/var/lib/private/bugzfeed/bugzfeed.db";
            change(&machine.path(database), CLIENTS);
        },
    );
    machine.wait_for("ActiveState", "active");
}
