//! The program `client`; all of it is in `tcpkit::programs`, but for the signals.

#[path = "shared/signals.rs"]
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    tcpkit::programs::client::run(std::env::args_os().skip(1), |callback| {
        signals::on_termination(callback)
    })
}
