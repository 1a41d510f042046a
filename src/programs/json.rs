//! Events as JSON, one object to a line, for scripts.
//!
//! Pure, but for the time that is left for a turn. Every character that a terminal would not show
//! is escaped, so that a line is always a line. Bytes are in base64.

use std::fmt::{Display, Write};
use std::time::{Instant, SystemTime};

use crate::clock::unix_milliseconds;
use crate::escape::is_hidden;
use crate::event::Event;

/// One event as a line of JSON, without the line's end.
pub(super) fn line(event: &Event) -> String {
    match event {
        Event::Text { seq, time, from, body } => {
            Object::record("text", *seq, *time).text("from", from).text("body", body)
        }
        Event::Direct { seq, time, from, body } => {
            Object::record("direct", *seq, *time).text("from", from).text("body", body)
        }
        Event::Bytes { seq, time, from, body } => {
            Object::record("bytes", *seq, *time).text("from", from).text("base64", &base64(body))
        }
        Event::Joined { seq, time, name } => {
            Object::record("joined", *seq, *time).text("name", name)
        }
        Event::Left { seq, time, name, reason } => Object::record("left", *seq, *time)
            .text("name", name)
            .text("reason", &reason.to_string()),
        Event::Uploaded { seq, time, from, name, size } => Object::record("uploaded", *seq, *time)
            .text("from", from)
            .text("name", name)
            .raw("size", size),
        Event::Present { total, names } => {
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            let names = format!("[{}]", names.join(","));
            Object::new("present").raw("total", total).raw("names", names)
        }
        Event::Go { turn, deadline } => {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()).as_millis());
            let left = left.map_or_else(|| "null".to_owned(), |left| left.to_string());
            Object::new("go").raw("turn", turn).raw("left_ms", left)
        }
        Event::Wait { turn, holder } => {
            Object::new("wait").raw("turn", turn).name("holder", holder.as_ref())
        }
        Event::TurnEnded { seq, time, turn, outcome, from, next, body } => {
            Object::record("turn-ended", *seq, *time)
                .raw("turn", turn)
                .text("outcome", &outcome.to_string())
                .text("from", from)
                .name("next", next.as_ref())
                .text("body", body)
        }
        Event::Accepted { receipt } => Object::new("accepted").raw("message", receipt),
        Event::Refused { receipt, code, detail } => Object::new("refused")
            .raw("message", receipt)
            .text("code", &code.to_string())
            .text("detail", detail),
        Event::Reconnecting { attempt, next_in, loss } => Object::new("reconnecting")
            .raw("attempt", attempt)
            .raw("next_in_ms", next_in.as_millis())
            .text("loss", &loss.to_string()),
        Event::Resumed { missed } => Object::new("resumed").raw("missed", missed),
        Event::SessionLost { unconfirmed, up_to } => {
            Object::new("session-lost").raw("unconfirmed", unconfirmed).raw("up_to", up_to)
        }
    }
    .line()
}

/// The beginning of an event of `client send-file` about one of its files.
pub(super) fn file(event: &str, path: &str) -> Object {
    Object::new(event).text("file", path)
}

/// An object that is not closed yet.
pub(super) struct Object(String);

impl Object {
    pub(super) fn count(self, key: &str, count: u64) -> Self {
        self.raw(key, count)
    }

    /// A size that may be unknown.
    pub(super) fn size(self, size: Option<u64>) -> Self {
        match size {
            Some(size) => self.raw("size", size),
            None => self.raw("size", "null"),
        }
    }

    /// The whole object, without the line's end.
    pub(super) fn line(self) -> String {
        self.0 + "}"
    }

    fn new(event: &str) -> Self {
        Self(format!("{{\"event\":\"{event}\""))
    }

    /// The beginning of an event that has its place in the log.
    fn record(event: &str, seq: u64, time: SystemTime) -> Self {
        Self::new(event).raw("seq", seq).raw("time_ms", unix_milliseconds(time))
    }

    fn raw(mut self, key: &str, value: impl Display) -> Self {
        let _ = write!(self.0, ",\"{key}\":{value}");
        self
    }

    /// A name, or `null`.
    fn name(self, key: &str, name: Option<&String>) -> Self {
        let name = name.map_or_else(|| "null".to_owned(), |name| quoted(name));
        self.raw(key, name)
    }

    pub(super) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, quoted(value))
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            hidden if is_hidden(hidden) => {
                for unit in hidden.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let number = number << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[number >> (18 - 6 * place) & 63];
            out.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Receipt;
    use crate::message::{Outcome, Reason, StatusCode};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn every_event_is_one_object() {
        let time = UNIX_EPOCH + Duration::from_millis(1500);
        let (from, name) = (String::from("bob"), String::from("bob"));
        let body = String::from("hi");
        for (event, expected) in [
            (
                Event::Text { seq: 1, time, from: from.clone(), body: body.clone() },
                r#"{"event":"text","seq":1,"time_ms":1500,"from":"bob","body":"hi"}"#,
            ),
            (
                Event::Direct { seq: 2, time, from: from.clone(), body },
                r#"{"event":"direct","seq":2,"time_ms":1500,"from":"bob","body":"hi"}"#,
            ),
            (
                Event::Bytes { seq: 3, time, from, body: vec![0, 255] },
                r#"{"event":"bytes","seq":3,"time_ms":1500,"from":"bob","base64":"AP8="}"#,
            ),
            (
                Event::Joined { seq: 4, time, name: name.clone() },
                r#"{"event":"joined","seq":4,"time_ms":1500,"name":"bob"}"#,
            ),
            (
                Event::Left { seq: 5, time, name: name.clone(), reason: Reason::Done },
                r#"{"event":"left","seq":5,"time_ms":1500,"name":"bob","reason":"done"}"#,
            ),
            (
                Event::Uploaded { seq: 6, time, from: name.clone(), name: "bob/x".into(), size: 9 },
                concat!(
                    r#"{"event":"uploaded","seq":6,"time_ms":1500,"#,
                    r#""from":"bob","name":"bob/x","size":9}"#
                ),
            ),
            (
                Event::TurnEnded {
                    seq: 6,
                    time,
                    turn: 3,
                    outcome: Outcome::TimeOut,
                    from: name.clone(),
                    next: None,
                    body: String::new(),
                },
                concat!(
                    r#"{"event":"turn-ended","seq":6,"time_ms":1500,"turn":3,"#,
                    r#""outcome":"time out","from":"bob","next":null,"body":""}"#
                ),
            ),
            (Event::Go { turn: 4, deadline: None }, r#"{"event":"go","turn":4,"left_ms":null}"#),
            (
                Event::Wait { turn: 5, holder: Some(name.clone()) },
                r#"{"event":"wait","turn":5,"holder":"bob"}"#,
            ),
            (
                Event::Present { total: 2, names: vec![name, "a\"b".into()] },
                r#"{"event":"present","total":2,"names":["bob","a\"b"]}"#,
            ),
            (Event::Accepted { receipt: Receipt(7) }, r#"{"event":"accepted","message":7}"#),
            (
                Event::Refused {
                    receipt: Receipt(8),
                    code: StatusCode::NoSuchRecipient,
                    detail: String::new(),
                },
                r#"{"event":"refused","message":8,"code":"no such recipient","detail":""}"#,
            ),
        ] {
            assert_eq!(line(&event), expected);
        }
    }

    #[test]
    fn a_lost_session_tells_up_to_which_message() {
        let event = Event::SessionLost { unconfirmed: 2, up_to: Receipt(6) };
        assert_eq!(line(&event), r#"{"event":"session-lost","unconfirmed":2,"up_to":6}"#);
    }

    #[test]
    fn hidden_characters_are_numbers() {
        let text = "\"\\/\n\r\t\0\u{1b}\u{7f}\u{202e}\u{feff}\u{e0001}é日🙂";
        let expected =
            concat!(r#""\"\\/\n\r\t\u0000\u001b\u007f\u202e\ufeff\udb40\udc01"#, "é日🙂\"");
        assert_eq!(quoted(text), expected);
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }
}
