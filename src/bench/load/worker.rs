//! One process of the load: does what the bench orders on stdin, a line of JSON each, and answers
//! on stdout. Owns the order that is being carried out; the clients know nothing of it.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use mio::{Token, Waker};
use serde::{Deserialize, Serialize};

use crate::bench::load::clients::{Clients, Setup, Tally};
use crate::bench::load::histogram::Histogram;
use crate::bench::load::ledger::{Counts, Segment};
use crate::bench::load::now;

const WAKER: Token = Token(usize::MAX - 1);

/// How often a worker tells how far it is.
const PROGRESS: Duration = Duration::from_millis(200);

/// A wait ends this much later than patience, so that it has really ended.
const LEEWAY: Duration = Duration::from_millis(1);

/// How often all clients are looked at, where there is no count that says the same.
const LOOK: Duration = Duration::from_millis(20);

/// What the bench wants done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// All that are absent connect and subscribe.
    Connect {
        /// Asking for what they missed.
        with_since: bool,
        /// How many at the same time.
        in_flight: u32,
        /// How many per second; 0 for all at once.
        rate: u32,
    },
    /// Clients connect, subscribe and leave, so many times.
    Churn {
        /// How many times in all.
        cycles: u64,
        /// How many at the same time.
        in_flight: u32,
    },
    /// All leave.
    Close,
    /// All are gone without a word.
    Cut,
    /// These updates will be published.
    Expect(Segment),
    /// Wait until all have what they should get.
    Await {
        /// For how long at most.
        patience: Duration,
    },
    /// Wait until all that are open have the newest update of each of their bugs.
    AwaitNewest {
        /// For how long at most.
        patience: Duration,
    },
    /// From now on, updates are expected by those who are subscribed, and by nobody else.
    Enroll,
    /// Each n-th client reads no more.
    StopReading {
        /// n.
        every: u32,
    },
    /// All read again.
    ResumeReading,
    /// So many clients per second lose their connection and come back with `since`, until told
    /// otherwise.
    Roam {
        /// How many; 0 ends it, and waits until all are back.
        per_second: u32,
        /// How many may be connecting at the same time.
        in_flight: u32,
    },
    /// What was measured so far was a warm-up: latencies count from here.
    Forget,
    /// Tell everything.
    Report,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It has not done it yet.
    Progress(Progress),
    /// It has done it.
    Done(Progress),
    /// It tells everything.
    Report(Box<Report>),
}

/// How far a worker is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Clients that are subscribed.
    pub open: u32,
    /// Times that a client has left.
    pub closed: u64,
    /// Times that a client could not connect, or was dropped.
    pub lost: u64,
    /// Deliveries that are still to come.
    pub outstanding: u64,
    /// Clients that had not the newest update of each bug when the wait ended.
    pub behind: u64,
    /// Nanoseconds that the order took.
    pub took: u64,
}

/// Everything that a worker knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What happened to its clients.
    pub tally: Tally,
    /// What they got.
    pub counts: Counts,
    /// Deliveries that never came.
    pub outstanding: u64,
    /// How late they were.
    pub latency: Histogram,
}

/// Works until stdin ends.
///
/// # Errors
/// When the kernel has no poll, or the bench is gone.
pub fn run() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let setup: Setup = serde_json::from_str(&line)?;
    let mut clients = Clients::new(setup)?;
    let orders = listen(&clients)?;
    let mut current: Option<Current> = None;
    loop {
        while current.is_none() {
            match orders.try_recv() {
                Ok(order) => current = Current::begin(order, &mut clients)?,
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
            }
        }
        let patience = current.as_ref().map(|current| current.patience());
        clients.turn(patience)?;
        if let Some(running) = &mut current
            && running.advance(&clients)?
        {
            current = None;
        }
    }
}

fn listen(clients: &Clients) -> io::Result<Receiver<Order>> {
    let waker = Waker::new(clients.registry(), WAKER)?;
    let (sender, orders) = mpsc::channel();
    thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || {
            let mut lines = io::stdin().lock().lines();
            while let Some(Ok(line)) = lines.next() {
                let Ok(order) = serde_json::from_str(&line) else {
                    break;
                };
                if sender.send(order).is_err() || waker.wake().is_err() {
                    return;
                }
            }
            drop(sender);
            let _ = waker.wake();
        })?;
    Ok(orders)
}

/// An order that takes time.
struct Current {
    order: Order,
    begun: u64,
    told: u64,
    /// When all clients were last looked at, which takes a while.
    looked: u64,
}

impl Current {
    /// Begins an order; `None` when it is done already.
    fn begin(order: Order, clients: &mut Clients) -> io::Result<Option<Self>> {
        let begun = now();
        match &order {
            Order::Connect {
                with_since,
                in_flight,
                rate,
            } => {
                clients.pace(*in_flight, *rate);
                clients.connect(*with_since);
            }
            Order::Churn { cycles, in_flight } => {
                clients.pace(*in_flight, 0);
                clients.churn(*cycles);
            }
            Order::Close => clients.close(),
            Order::Cut => clients.cut(),
            Order::Enroll => clients.enroll(),
            Order::Expect(segment) => clients.expect(segment.clone()),
            Order::Await { .. } | Order::AwaitNewest { .. } => {}
            Order::StopReading { every } => clients.stop_reading(*every),
            Order::ResumeReading => clients.resume_reading(),
            Order::Roam {
                per_second,
                in_flight,
            } => {
                clients.pace(*in_flight, 0);
                clients.roam(*per_second);
            }
            Order::Forget => {
                clients.ledger.latency = Histogram::default();
                clients.tally.connect = Histogram::default();
            }
            Order::Report => {
                let report = Report {
                    tally: clients.tally.clone(),
                    counts: clients.ledger.counts.clone(),
                    outstanding: clients.ledger.outstanding,
                    latency: clients.ledger.latency.clone(),
                };
                say(&Answer::Report(Box::new(report)))?;
                return Ok(None);
            }
        }
        let mut current = Self {
            order,
            begun,
            told: begun,
            looked: begun,
        };
        Ok(if current.advance(clients)? {
            None
        } else {
            Some(current)
        })
    }

    fn patience(&self) -> Duration {
        // So that the end of a wait is not noticed late.
        match self.order {
            Order::AwaitNewest { .. } => LOOK,
            Order::Await { patience } => PROGRESS
                .min((patience + LEEWAY).saturating_sub(Duration::from_nanos(now() - self.begun))),
            _ => PROGRESS,
        }
    }

    /// Tells how far the order is; returns whether it is done.
    fn advance(&mut self, clients: &Clients) -> io::Result<bool> {
        let time = now();
        let is_over = |patience: Duration| Duration::from_nanos(time - self.begun) > patience;
        let is_done = match self.order {
            Order::Connect { .. }
            | Order::Churn { .. }
            | Order::Close
            | Order::Roam { per_second: 0, .. } => clients.is_settled(),
            Order::Await { patience } => clients.ledger.outstanding == 0 || is_over(patience),
            Order::AwaitNewest { .. } if time - self.looked < LOOK.as_nanos() as u64 => false,
            Order::AwaitNewest { patience } => {
                self.looked = time;
                is_over(patience) || clients.behind() == 0
            }
            Order::Cut
            | Order::Enroll
            | Order::Expect(_)
            | Order::StopReading { .. }
            | Order::ResumeReading
            | Order::Roam { .. }
            | Order::Forget
            | Order::Report => true,
        };
        if !is_done && time - self.told < PROGRESS.as_nanos() as u64 {
            return Ok(false);
        }
        self.told = time;
        let tally = &clients.tally;
        let progress = Progress {
            open: tally.open,
            closed: tally.closed,
            lost: tally.failed.values().chain(tally.dropped.values()).sum(),
            outstanding: clients.ledger.outstanding,
            behind: if is_done && matches!(self.order, Order::AwaitNewest { .. }) {
                clients.behind()
            } else {
                0
            },
            took: time - self.begun,
        };
        say(&if is_done {
            Answer::Done(progress)
        } else {
            Answer::Progress(progress)
        })?;
        Ok(is_done)
    }
}

fn say(answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}
