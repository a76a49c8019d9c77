//! `bugzfeed health`: asks a server whether it can take clients, for a container's health check, a
//! script or a balancer. Knows no more than its admin listener says.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::Args;

use crate::duration;
use crate::failure::Failure;
use crate::reactor::{Address, AdminAddress};

/// Settings of `bugzfeed health`.
#[derive(Args, Debug)]
pub struct Options {
    /// Where the server answers, as its --admin says
    #[arg(
        long,
        env = "BUGZFEED_ADMIN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8845"
    )]
    admin: AdminAddress,
    /// Ask only whether it lives, not whether it can take clients
    #[arg(long)]
    live: bool,
    /// Time that the answer may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
}

/// Asks, and prints the answer.
///
/// # Errors
/// When it is no, or there is none.
pub fn run(options: &Options) -> Result<(), Failure> {
    let AdminAddress::At(addresses) = &options.admin else {
        return Err(Failure::Usage(
            "--admin off: there is nobody to ask; accepted are 127.0.0.1:8845 and unix:FILE."
                .to_owned(),
        ));
    };
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in &addresses.all {
        match ask(address, options) {
            Ok(response) => return judge(&response),
            Err(error) => failure = error,
        }
    }
    let named: Vec<String> = addresses.all.iter().map(ToString::to_string).collect();
    Err(Failure::CheckFailed(format!(
        "no answer from {} (setting --admin): {failure}.",
        named.join(", ")
    )))
}

/// Sends the request, and returns the whole response.
fn ask(address: &Address, options: &Options) -> io::Result<String> {
    let timeout = Some(options.timeout);
    match address {
        Address::Tcp(address) | Address::Tls(address) => {
            let stream = TcpStream::connect_timeout(address, options.timeout)?;
            stream.set_read_timeout(timeout)?;
            exchange(stream, options.live)
        }
        Address::Unix(file) => {
            let stream = UnixStream::connect(&file.path)?;
            stream.set_read_timeout(timeout)?;
            exchange(stream, options.live)
        }
    }
}

fn exchange(mut stream: impl Read + Write, is_live: bool) -> io::Result<String> {
    let path = if is_live { "/livez" } else { "/readyz" };
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

fn judge(response: &str) -> Result<(), Failure> {
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    let body = body.trim_end();
    match head.split(' ').nth(1) {
        Some("200") => {
            // A reader that closes the pipe early is no failure.
            let _ = writeln!(io::stdout(), "{body}");
            Ok(())
        }
        Some("503") => Err(Failure::CheckFailed(body.replace('\n', "; "))),
        _ => Err(Failure::CheckFailed(
            "what answers there is no admin listener of bugzfeed (setting --admin).".to_owned(),
        )),
    }
}
