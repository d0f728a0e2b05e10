//! healthchecks.io's shape: `/ping[/CHECK][/start|/fail|/log|/0..255]`.

use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use lubdub_shared::line::{self, Check, Message, TaskStep};

use super::{Peer, Shop, Text, What, fine, problem};

/// Check of a ping without a name.
const PING: &str = "ping";

/// What a ping says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    Success,
    Start,
    Fail,
    Log,
}

pub(super) async fn ping(
    State(shop): State<Shop>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    path: Option<Path<String>>,
    Text(text): Text,
) -> Response {
    let path = path.map(|Path(rest)| rest).unwrap_or_default();
    let Some((name, what)) = read_ping(&path) else {
        return problem(StatusCode::BAD_REQUEST, "not /ping[/CHECK][/start|/fail|/log|/0..255]");
    };
    let check = match line::name("check", name.unwrap_or(PING).into()) {
        Ok(check) => check,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    // Only what will be known when it ends is begun; only what was begun is a task: a ping now and
    // then is no work done.
    let task = match what {
        Ping::Start => shop.can_start(&check).then_some(TaskStep::Start),
        Ping::Success => shop.was_started(&check).then_some(TaskStep::Done),
        Ping::Fail => shop.was_started(&check).then_some(TaskStep::Fail),
        Ping::Log => None,
    };
    let ok = match what {
        Ping::Success => Some(true),
        Ping::Fail => Some(false),
        Ping::Start | Ping::Log => None,
    };
    let message = Message {
        beat: what != Ping::Log,
        task: task.map(|step| line::Task { id: check.clone(), step, took: None }),
        check: ok.map(|ok| Check {
            name: check.clone(),
            ok,
            trigger: false,
            message: text.clone(),
        }),
        text: Some(text).filter(|text| !text.is_empty()),
        ..Message::default()
    };
    if let Err(refused) = shop.ask(peer, What::Said(Box::new(message))).await {
        return refused;
    }
    // Remembered once it is known that a member said it.
    if let Some(step) = task {
        shop.note(check, step == TaskStep::Start);
    }
    fine()
}

/// `[CHECK][/start|/fail|/log|/0..255]`.
fn read_ping(path: &str) -> Option<(Option<&str>, Ping)> {
    let word = |word: &str| match word {
        "start" => Some(Ping::Start),
        "fail" => Some(Ping::Fail),
        "log" => Some(Ping::Log),
        "0" => Some(Ping::Success),
        number => number.parse::<u8>().ok().map(|_| Ping::Fail),
    };
    let path = path.trim_matches('/');
    let (name, what) = match path.rsplit_once('/') {
        Some((name, last)) => (Some(name), word(last)?),
        None if path.is_empty() => (None, Ping::Success),
        None => match word(path) {
            Some(what) => (None, what),
            // An exit code that is none.
            None if path.parse::<i64>().is_ok() => return None,
            None => (Some(path), Ping::Success),
        },
    };
    name.is_none_or(|name| !name.contains('/')).then_some((name, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_read_as_healthchecks_has_them() {
        for (path, read) in [
            ("", Some((None, Ping::Success))),
            ("start", Some((None, Ping::Start))),
            ("7", Some((None, Ping::Fail))),
            ("backup", Some((Some("backup"), Ping::Success))),
            ("backup/", Some((Some("backup"), Ping::Success))),
            ("backup/start", Some((Some("backup"), Ping::Start))),
            ("backup/fail", Some((Some("backup"), Ping::Fail))),
            ("backup/log", Some((Some("backup"), Ping::Log))),
            ("backup/0", Some((Some("backup"), Ping::Success))),
            ("backup/255", Some((Some("backup"), Ping::Fail))),
            ("backup/256", None),
            ("256", None),
            ("-1", None),
            ("backup/restart", None),
            ("a/b/start", None),
        ] {
            assert_eq!(read_ping(path), read, "{path}");
        }
    }
}
