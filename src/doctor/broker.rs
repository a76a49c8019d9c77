//! A broker: whether it lets the account in, the exchange, the queue with what is in it and what
//! comes into it, what the account may do, and its clock.

use super::Findings;
use crate::amqp::{self, Examined, Settings};
use crate::management::{self, Client};
use crate::work::unix_now;

/// A queue that is so full, in per cent, begins to lose what is oldest before long.
const FULL_PERCENT: u64 = 80;

/// Looks at a broker that a server reads from, or a relay publishes to.
pub(super) fn examine(
    settings: &Settings,
    management: Option<&management::Settings>,
    is_source: bool,
    findings: &mut Findings,
) {
    let examined = match amqp::examine(settings) {
        Ok(examined) => examined,
        Err(error) => {
            let (user, vhost) = (&settings.user, &settings.vhost);
            findings.mend(
                "broker",
                format!("{settings}: {error}"),
                format!("rabbitmqctl authenticate_user {user} PASSWORD && rabbitmqctl list_user_permissions {user}    # on the broker; it needs rights on the virtual host {vhost}"),
            );
            return;
        }
    };
    findings.ok("broker", format!("{settings} lets {} in", settings.user));
    exchange(settings, &examined, findings);
    if is_source {
        permissions(settings, &examined, findings);
        queue(settings, &examined, findings);
    }
    match management {
        Some(management) => ask(settings, management, is_source, &examined, findings),
        None => findings.note(
            "bindings",
            format!("{settings}: not looked at, and neither is the broker's clock"),
            Some("rabbitmq-plugins enable rabbitmq_management    # and doctor --management 'http://USER@HOST:15672/#password_file=FILE'".to_owned()),
        ),
    }
}

fn exchange(settings: &Settings, examined: &Examined, findings: &mut Findings) {
    let name = &settings.exchange;
    match (&examined.wrong_type, examined.has_exchange) {
        (Some(why), _) => findings.mend(
            "exchange",
            format!("{settings}: {why}"),
            format!("rabbitmqadmin delete exchange name={name}    # the relay makes it anew, as a topic exchange"),
        ),
        (None, false) => findings.mend(
            "exchange",
            format!("{settings}: there is no exchange {name}, so that nothing comes"),
            format!("bugzfeed relay --from … --to 'amqp://USER@{}/…?exchange={name}'    # makes it; or name the one that is there: ?exchange=…", settings.host),
        ),
        (None, true) => findings.ok("exchange", format!("{name} is there")),
    }
}

fn permissions(settings: &Settings, examined: &Examined, findings: &mut Findings) {
    let user = &settings.user;
    match &examined.not_permitted {
        Some(why) => findings.mend(
            "permissions",
            format!("{settings}: {why}"),
            format!(
                "rabbitmqctl set_permissions -p {} {user} '^(queue/{user}/.*|exchange/{user}/.*)' '^(queue/{user}/.*|exchange/{user}/.*)' '^(queue/{user}/.*|exchange/.*)'",
                settings.vhost
            ),
        ),
        None => findings.ok(
            "permissions",
            format!("{user} may have a queue of its own, and read the exchange"),
        ),
    }
}

fn queue(settings: &Settings, examined: &Examined, findings: &mut Findings) {
    let Some(name) = settings.queue_name() else {
        findings.note(
            "queue",
            format!("{settings} names none: what changes while the server is down is lost to it, unless it can catch up"),
            Some("&queue=one    # behind the address; each server needs a label of its own".to_owned()),
        );
        return;
    };
    let Some(waiting) = examined.queue else {
        findings.note(
            "queue",
            format!("{name} is not there yet; the server makes it"),
            None,
        );
        return;
    };
    let (messages, most) = (
        u64::from(waiting.messages),
        u64::from(settings.messages_max),
    );
    let depth = format!("{name} holds {messages} of {most} messages");
    if messages * 100 >= most * FULL_PERCENT {
        let mend = match waiting.readers {
            0 => "systemctl start bugzfeed    # nobody reads it; or, if its server is gone for ever, on the broker: ".to_owned()
                + &format!("rabbitmqctl delete_queue {name}"),
            _ => "journalctl -u bugzfeed -n 20    # its server does not keep up; max_length=… behind the address bounds it".to_owned(),
        };
        findings.mend("queue", depth, mend);
    } else {
        findings.ok("queue", depth);
    }
}

/// Asks what only the management API tells.
fn ask(
    settings: &Settings,
    management: &management::Settings,
    is_source: bool,
    examined: &Examined,
    findings: &mut Findings,
) {
    let asked = Client::new(management.clone()).and_then(|client| {
        let now = client.now()?.map(|theirs| (theirs, unix_now()));
        let alarms = client.alarms()?;
        let queue = settings
            .queue_name()
            .filter(|_| is_source && examined.queue.is_some());
        let bindings = queue
            .map(|queue| client.bindings(&settings.vhost, &queue))
            .transpose()?;
        Ok((now, alarms, bindings))
    });
    let (now, alarms, bindings) = match asked {
        Ok(answers) => answers,
        Err(error) => {
            findings.mend(
                "management",
                error.to_string(),
                format!("rabbitmq-plugins enable rabbitmq_management && rabbitmqctl set_user_tags {} monitoring", management.user),
            );
            return;
        }
    };
    if let Some((theirs, ours)) = now {
        findings.clocks(&settings.host, theirs, ours);
    }
    for alarm in alarms {
        findings.mend(
            "broker",
            format!("{alarm}, so that it takes no messages"),
            "rabbitmq-diagnostics alarms && rabbitmq-diagnostics memory_breakdown && df -h /var/lib/rabbitmq",
        );
    }
    match bindings {
        Some(bindings) if !bindings.contains(&settings.exchange) => findings.mend(
            "bindings",
            format!("{settings}: nothing comes into the queue from {}", settings.exchange),
            "systemctl restart bugzfeed    # binds it, and tells clients that changes may be missing",
        ),
        Some(_) => findings.ok("bindings", format!("the queue is bound to {}", settings.exchange)),
        None => {}
    }
}
