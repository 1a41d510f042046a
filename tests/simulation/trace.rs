//! The trace of a schedule: readable lines of time, who, what. Nothing is written unless asked for.

use std::cell::RefCell;
use std::fmt::Arguments;
use std::rc::Rc;

use crate::network::Time;

/// Lines that outlive the world that wrote them, or none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape(Option<Rc<RefCell<Vec<String>>>>);

impl Tape {
    pub(crate) fn recording() -> Self {
        Self(Some(Rc::default()))
    }

    pub(crate) fn note(&self, time: Time, who: Arguments<'_>, what: Arguments<'_>) {
        let Some(lines) = &self.0 else { return };
        let (seconds, micros) = (time / 1_000_000_000, time / 1_000 % 1_000_000);
        lines
            .borrow_mut()
            .push(format!("{seconds:5}.{micros:06} {who:<9} {what}", who = who.to_string()));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.as_ref().map(|lines| lines.borrow().clone()).unwrap_or_default()
    }
}

/// Writes a line into the trace of a world; its words are only put together if there is one.
#[macro_export]
macro_rules! trace {
    ($world:expr, ($($who:tt)*), $($what:tt)*) => {
        $world.say(format_args!($($who)*), format_args!($($what)*))
    };
}
