//! One process of the load: does what the bench orders on stdin, and answers on stdout. Owns the
//! order that is being carried out; the clients know nothing of it.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use mio::{Token, Waker};

use super::clients::{Clients, Setup};
use super::histogram::Histogram;
use super::now;
use super::order::{Answer, Order, Outcome, Status};

const WAKER: Token = Token(usize::MAX - 1);

/// How often a worker answers how far it is.
const STATUS: Duration = Duration::from_millis(200);

/// A wait ends this much later than patience, so that it has really ended.
const LEEWAY: Duration = Duration::from_millis(1);

/// How often all clients are looked at, where no count says the same.
const LOOK: Duration = Duration::from_millis(20);

/// Works until stdin ends.
///
/// # Errors
/// When the kernel has no poll, or the bench is gone.
pub(crate) fn run() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let setup: Setup = serde_json::from_str(&line)?;
    let mut clients = Clients::new(setup)?;
    let orders = listen(&clients)?;
    let mut running: Option<Running> = None;
    loop {
        while running.is_none() {
            match orders.try_recv() {
                Ok(order) => running = Running::begin(order, &mut clients)?,
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
            }
        }
        clients.poll(running.as_ref().map(Running::patience))?;
        if let Some(order) = &mut running
            && order.advance(&clients)?
        {
            running = None;
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
struct Running {
    order: Order,
    begun: u64,
    answered: u64,
    /// When all clients were last looked at, which takes a while.
    looked: u64,
}

impl Running {
    /// Begins an order; `None` when it is done already.
    fn begin(order: Order, clients: &mut Clients) -> io::Result<Option<Self>> {
        let begun = now();
        if let Order::Report = order {
            return answer(&Answer::Outcome(Box::new(outcome(clients)))).map(|()| None);
        }
        carry_out(&order, clients);
        let mut running = Self {
            order,
            begun,
            answered: begun,
            looked: begun,
        };
        let is_done = running.advance(clients)?;
        Ok((!is_done).then_some(running))
    }

    /// How long to wait at most, so that the end of the order is not noticed late.
    fn patience(&self) -> Duration {
        match self.order {
            Order::AwaitNewest { .. } => LOOK,
            Order::Await { patience } => STATUS
                .min((patience + LEEWAY).saturating_sub(Duration::from_nanos(now() - self.begun))),
            _ => STATUS,
        }
    }

    /// Answers how far the order is, now and then; returns whether it is done.
    fn advance(&mut self, clients: &Clients) -> io::Result<bool> {
        let time = now();
        let is_done = self.is_done(clients, time);
        if !is_done && time - self.answered < STATUS.as_nanos() as u64 {
            return Ok(false);
        }
        self.answered = time;
        let status = Status {
            open: clients.tally.open,
            closed: clients.tally.closed,
            outstanding: clients.ledger.outstanding,
            took: time - self.begun,
        };
        answer(&if is_done {
            Answer::Done(status)
        } else {
            Answer::Pending(status)
        })?;
        Ok(is_done)
    }

    fn is_done(&mut self, clients: &Clients, time: u64) -> bool {
        let is_over = |patience: Duration| Duration::from_nanos(time - self.begun) > patience;
        match self.order {
            Order::Connect { .. } | Order::Churn { .. } | Order::Roam { per_second: 0, .. } => {
                clients.is_settled()
            }
            Order::Await { patience } => clients.ledger.outstanding == 0 || is_over(patience),
            Order::AwaitNewest { .. } if time - self.looked < LOOK.as_nanos() as u64 => false,
            Order::AwaitNewest { patience } => {
                self.looked = time;
                is_over(patience) || clients.are_up_to_date()
            }
            Order::Cut
            | Order::Enroll
            | Order::Expect(_)
            | Order::StopReading { .. }
            | Order::ResumeReading
            | Order::Roam { .. }
            | Order::Forget
            | Order::Report => true,
        }
    }
}

fn carry_out(order: &Order, clients: &mut Clients) {
    match *order {
        Order::Connect {
            with_since,
            resumes,
            in_flight,
            rate,
        } => {
            clients.set_resuming(resumes);
            clients.connect(with_since, in_flight, rate);
        }
        Order::Churn {
            cycles,
            in_flight,
            resumes,
        } => {
            clients.set_resuming(resumes);
            clients.churn(cycles, in_flight);
        }
        Order::Cut => clients.cut(),
        Order::Enroll => clients.enroll(),
        Order::Expect(ref segment) => clients.expect(segment.clone()),
        Order::StopReading { every } => clients.stop_reading(every),
        Order::ResumeReading => clients.resume_reading(),
        Order::Roam {
            per_second,
            in_flight,
        } => {
            clients.set_resuming(true);
            clients.roam(per_second, in_flight);
        }
        Order::Forget => {
            clients.ledger.latency = Histogram::default();
            clients.tally.connect = Histogram::default();
        }
        Order::Await { .. } | Order::AwaitNewest { .. } | Order::Report => {}
    }
}

fn outcome(clients: &Clients) -> Outcome {
    Outcome {
        tally: clients.tally.clone(),
        counts: clients.ledger.counts.clone(),
        outstanding: clients.ledger.outstanding,
        latency: clients.ledger.latency.clone(),
    }
}

fn answer(answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}
