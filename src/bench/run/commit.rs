//! From a commit to a client: one more client, in the bench's own process and with a bug of its own,
//! and how long after its update was published, and the commit had returned, it has got that.

use std::io;
use std::time::{Duration, Instant};

use super::Run;
use crate::bench::cores::{self, Role};
use crate::bench::interrupt;
use crate::bench::load::histogram::Histogram;
use crate::bench::load::now;
use crate::bench::load::plan::{Pattern, Plan};
use crate::bench::server::inlet::Inlet;
use crate::bench::server::target::Target;
use crate::client::{Client, Connector, Heard, Message};

/// How long the server may take to let the client in.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether all has come.
const LOOK: Duration = Duration::from_millis(20);

/// The client, and the updates of its bug.
struct Witness<'a> {
    client: Client,
    plan: &'a Plan,
    bug: u32,
    first_seq: u32,
    /// When the commit of each update was over; none once the client has it.
    commits: Vec<Option<u64>>,
    delays: Histogram,
}

impl Run<'_> {
    /// Publishes updates, so many a second in the mean, at irregular times, so that they are in step
    /// with nobody who looks at intervals. Returns how late each was after its commit; none where
    /// the bench's own client is not told from others, or would have to speak TLS.
    pub(crate) fn publish_to_witness(
        &mut self,
        updates: u32,
        rate: f64,
    ) -> io::Result<Option<Histogram>> {
        let plan = self.load.plan.clone();
        if plan.pattern == Pattern::Shared || self.targets[0].is_encrypted {
            return Ok(None);
        }
        let Some(mut inlet) = self.targets[0].inlet.take() else {
            return Ok(None);
        };
        let first_seq = self.next_seq;
        self.next_seq += updates;
        let (target, patience) = (&self.targets[0], self.load.patience);
        let status_line = self.status_line;
        status_line.begin("publishing to one", u64::from(updates));
        let result = cores::on(Role::Load, || {
            let mut witness = Witness::connect(target, &plan, first_seq)?;
            for count in 1..=updates {
                witness.publish(&mut inlet)?;
                let pause = Duration::from_secs_f64((0.5 + fastrand::f64()) / rate.max(1.0));
                witness.read_until(Instant::now() + pause)?;
                status_line.show(u64::from(count));
            }
            witness.end(patience)?;
            Ok::<_, io::Error>(witness)
        });
        self.targets[0].inlet = Some(inlet);
        let witness = result?;
        self.unseen += witness.missing();
        Ok(Some(witness.delays))
    }
}

impl<'a> Witness<'a> {
    fn connect(target: &Target, plan: &'a Plan, first_seq: u32) -> io::Result<Self> {
        let bug = plan.bug_apart();
        let path = target.path.replace("{bug}", &bug.to_string());
        let url = format!("ws://{}{path}", target.host);
        let url = url.parse().map_err(io::Error::other)?;
        let connector = Connector::new(url, None, TIMEOUT).map_err(io::Error::other)?;
        let client = connector.connect().map_err(io::Error::other)?;
        let mut witness = Self {
            client,
            plan,
            bug,
            first_seq,
            commits: Vec::new(),
            delays: Histogram::default(),
        };
        // Where the path names the bug, it is the subscription.
        if path == target.path {
            witness.subscribe()?;
        }
        Ok(witness)
    }

    fn subscribe(&mut self) -> io::Result<()> {
        let command = format!(r#"{{"command":"subscribe","bugs":[{}]}}"#, self.bug);
        self.client.send(&command).map_err(io::Error::other)?;
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            match self.hear(deadline)? {
                Some(Message::Reply(reply)) if reply.error.is_none() => return Ok(()),
                Some(Message::Reply(_)) => break,
                Some(Message::Update(_)) | None => {}
            }
        }
        Err(io::Error::other("the server lets no further client in"))
    }

    fn publish(&mut self, inlet: &mut Inlet) -> io::Result<()> {
        interrupt::check()?;
        let seq = self.first_seq + self.commits.len() as u32;
        inlet.publish(&[(self.bug, self.plan.when(seq))])?;
        self.commits.push(Some(now()));
        Ok(())
    }

    /// Notes what comes until then.
    fn read_until(&mut self, deadline: Instant) -> io::Result<()> {
        while Instant::now() < deadline {
            let message = self.hear(deadline)?;
            let now = now();
            if let Some(Message::Update(update)) = message
                && let Some(seq) = self.plan.seq(update.when.unix_seconds())
                && let Some(at) = seq.checked_sub(self.first_seq)
                && let Some(commit) = self.commits.get_mut(at as usize)
                && let Some(commit) = commit.take()
            {
                self.delays.record(now.saturating_sub(commit), 1);
            }
        }
        Ok(())
    }

    /// Waits for what has not come yet.
    fn end(&mut self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        while self.missing() > 0 && Instant::now() < deadline {
            interrupt::check()?;
            self.read_until(Instant::now() + LOOK)?;
        }
        Ok(())
    }

    fn missing(&self) -> u64 {
        self.commits.iter().flatten().count() as u64
    }

    fn hear(&mut self, deadline: Instant) -> io::Result<Option<Message>> {
        match self.client.read(deadline).map_err(io::Error::other)? {
            Heard::Text(text) => Ok(Message::read(&text).ok()),
            Heard::SignOfLife | Heard::Nothing => Ok(None),
        }
    }
}
