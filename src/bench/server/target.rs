//! The server that is measured: one that runs already, or one that is started for the purpose, be
//! it `bugzfeed serve` or the floor. Knows no client.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use data_encoding::BASE64;

use super::inlet::{Inlet, InletAddress};
use crate::client::FeedUrl;

/// Which server to measure.
#[derive(Clone, Debug)]
pub(crate) enum TargetKind {
    /// `bugzfeed serve` of this program.
    Serve {
        /// Whether clients reach it by TLS, and with which certificate.
        tls: Option<Certificate>,
        /// Further arguments.
        arguments: Vec<String>,
    },
    /// The floor, whose updates go to all clients if the bug is below this number, or to the bug's
    /// owner where there is none.
    Floor(Option<u32>),
    /// A server that runs already.
    Running {
        url: FeedUrl,
        pids: Vec<u32>,
        /// Where it learns of updates.
        inlet: Option<Box<InletAddress>>,
        /// Where its admin listener has its metrics.
        metrics: Option<String>,
    },
}

/// The certificate of a server that is started.
#[derive(Clone, Debug)]
pub(crate) enum Certificate {
    /// Made for the purpose, and thrown away.
    ThrownAway,
    /// The user's, with its key.
    Files { certificate: PathBuf, key: PathBuf },
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether clients reach it by TLS.
    pub is_encrypted: bool,
    /// The name or address that its certificate has, where it has one.
    pub name: String,
    /// What the header field Host says.
    pub host: String,
    pub path: String,
    /// Its processes, where they are known.
    pub pids: Vec<u32>,
    /// How it learns of updates, where that is known.
    pub inlet: Option<Inlet>,
    inlet_address: Option<InletAddress>,
    /// Where its admin listener has its metrics, where that is known.
    pub metrics: Option<String>,
    /// What is killed at the end.
    process: Option<Child>,
    /// What is removed at the end.
    folder: Option<PathBuf>,
}

impl Target {
    /// Starts the server, or finds it.
    pub(crate) fn start(kind: &TargetKind) -> io::Result<Self> {
        match kind {
            TargetKind::Serve { tls, arguments } => serve(tls.as_ref(), arguments),
            TargetKind::Floor(audience) => floor(*audience),
            TargetKind::Running {
                url,
                pids,
                inlet,
                metrics,
            } => find(url, pids, inlet.as_deref(), metrics.clone()),
        }
    }

    /// Connects anew to where updates are published.
    pub(crate) fn reopen_inlet(&mut self) -> io::Result<()> {
        self.inlet = self.inlet_address.as_ref().map(Inlet::open).transpose()?;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Connects once, so that a server that is not there is one error and not one of each client.
fn find(
    url: &FeedUrl,
    pids: &[u32],
    inlet: Option<&InletAddress>,
    metrics: Option<String>,
) -> io::Result<Target> {
    let address = TcpStream::connect((url.host(), url.port()))?.peer_addr()?;
    Ok(Target {
        address,
        is_encrypted: url.is_encrypted(),
        name: url.host().to_owned(),
        host: url.authority().to_owned(),
        path: url.path().to_owned(),
        pids: pids.to_vec(),
        inlet: inlet.map(Inlet::open).transpose()?,
        inlet_address: inlet.cloned(),
        metrics,
        process: None,
        folder: None,
    })
}

/// Starts `bugzfeed serve` on a free port, with table and history in one file, as by default, in a
/// new folder.
fn serve(tls: Option<&Certificate>, arguments: &[String]) -> io::Result<Target> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = env::temp_dir().join(format!(
        "bugzfeed-bench-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    fs::create_dir_all(&folder)?;
    let table = folder.join("bench.db");
    let listen = match tls {
        Some(_) => "tls:127.0.0.1:0",
        None => "127.0.0.1:0",
    };
    // Several may be measured at once; what is measured has one, as it has by default.
    let admin: &[&str] = match arguments.iter().any(|argument| argument == "--admin") {
        true => &[],
        false => &["--admin", "127.0.0.1:0"],
    };
    let mut process = Command::new(env::current_exe()?)
        .args(["serve", "--listen", listen, "--log", "warn"])
        .arg("--source")
        .arg(format!("sqlite:{}?poll=50ms", table.display()))
        .arg("--history")
        .arg(&table)
        .args(admin)
        .args(arguments)
        .args(
            tls.map(|certificate| certificate_arguments(certificate, &folder))
                .transpose()?
                .unwrap_or_default(),
        )
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let lines = process.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut target = Target {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        is_encrypted: tls.is_some(),
        name: Ipv4Addr::LOCALHOST.to_string(),
        host: String::new(),
        path: "/".to_owned(),
        pids: vec![process.id()],
        inlet: None,
        inlet_address: None,
        metrics: None,
        process: Some(process),
        folder: Some(folder),
    };
    let mut lines = BufReader::new(lines).lines();
    for line in &mut lines {
        let line = line?;
        if let Some((_, rest)) = line.split_once("s://") {
            let authority = rest.split('/').next().unwrap_or_default();
            target.address = authority.parse().map_err(io::Error::other)?;
            target.host = authority.to_owned();
            let admin = line.rsplit_once("admin: ").map(|(_, address)| address);
            target.metrics = admin.map(|address| format!("http://{address}/metrics"));
            break;
        }
        eprintln!("serve: {line}");
    }
    if target.host.is_empty() {
        return Err(io::Error::other("bugzfeed serve ended at once"));
    }
    // Whatever else it logs is of interest, and it must not wait for somebody to read it.
    thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .for_each(|line| eprintln!("serve: {line}"))
    });
    let address = InletAddress::Sqlite(table);
    target.inlet = Some(open_when_there(&address)?);
    target.inlet_address = Some(address);
    Ok(target)
}

/// The arguments that name a server's certificate, which is made in `folder` if need be, and where
/// the keys of its tickets are.
fn certificate_arguments(certificate: &Certificate, folder: &Path) -> io::Result<Vec<OsString>> {
    let (certificate, key) = match certificate {
        Certificate::Files { certificate, key } => (certificate.clone(), key.clone()),
        Certificate::ThrownAway => {
            let files = (folder.join("certificate.pem"), folder.join("key.pem"));
            let made = rcgen::generate_simple_self_signed(vec![Ipv4Addr::LOCALHOST.to_string()])
                .map_err(io::Error::other)?;
            fs::write(&files.0, pem("CERTIFICATE", made.cert.der()))?;
            fs::write(
                &files.1,
                pem("PRIVATE KEY", made.signing_key.serialized_der()),
            )?;
            files
        }
    };
    Ok(vec![
        "--tls-cert".into(),
        certificate.into(),
        "--tls-key".into(),
        key.into(),
        "--tls-tickets".into(),
        folder.join("tickets").into(),
    ])
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Waits until the server's source has made its table.
fn open_when_there(address: &InletAddress) -> io::Result<Inlet> {
    let mut tries = 0;
    loop {
        match Inlet::open(address).and_then(|mut inlet| inlet.publish(&[]).map(|()| inlet)) {
            Err(_) if tries < 100 => tries += 1,
            result => return result,
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn floor(audience: Option<u32>) -> io::Result<Target> {
    let audience = audience.map_or("owner".to_owned(), |end| end.to_string());
    let mut process = Command::new(env::current_exe()?)
        .args(["bench", "floor", "--audience", &audience])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
    let ports: Vec<u16> = line
        .split_whitespace()
        .filter_map(|port| port.parse().ok())
        .collect();
    let [port, control] = ports[..] else {
        return Err(io::Error::other("the floor ended at once"));
    };
    let inlet = Inlet::open(&InletAddress::Lines(format!("127.0.0.1:{control}")))?;
    Ok(Target {
        address: (Ipv4Addr::LOCALHOST, port).into(),
        is_encrypted: false,
        name: String::new(),
        host: format!("127.0.0.1:{port}"),
        path: "/".to_owned(),
        pids: vec![process.id()],
        inlet: Some(inlet),
        inlet_address: None,
        metrics: None,
        process: Some(process),
        folder: None,
    })
}
