//! SIGINT and SIGTERM for the programs: a handler writes one byte into a pipe, a thread reads it.
//!
//! What to do then is left to the callback. A signal that was inherited as ignored (`nohup`, a
//! shell's background job) stays ignored. As process 1 of a container a program without a handler
//! could not be stopped politely at all. Where there is no Unix, there are no signals.
//!
//! This is the one file with `unsafe` in it, for the one thing that `std` lacks: `signal`.

#![allow(unsafe_code)]

use std::io::{self, PipeWriter, Read, Write};
use std::sync::OnceLock;
use std::thread;

/// Where the handler writes to.
static PIPE: OnceLock<PipeWriter> = OnceLock::new();

/// Calls `callback` on every SIGINT and SIGTERM with how many have come so far, in a thread of its
/// own. The callback must not block: the next signal would wait for it.
///
/// # Errors
/// When there is no pipe or thread to be had, or when called twice.
pub(crate) fn on_termination(callback: impl Fn(u32) + Send + 'static) -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    PIPE.set(writer).map_err(|_| io::Error::other("signals are handled already"))?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut count = 0;
        while reader.read_exact(&mut [0]).is_ok() {
            count += 1;
            callback(count);
        }
    })?;
    install();
    Ok(())
}

#[cfg(not(unix))]
fn install() {}

#[cfg(unix)]
fn install() {
    use std::ffi::c_int;

    const SIGINT: c_int = 2;
    const SIGTERM: c_int = 15;
    const IGNORE: usize = 1;

    // SAFETY: this is the C library's `signal`, of which a handler's address, SIG_DFL (0), SIG_IGN
    // (1) and SIG_ERR (-1) are all of the size of a pointer.
    unsafe extern "C" {
        fn signal(number: c_int, handler: usize) -> usize;
    }

    // What the handler does is allowed in one: an atomic load (the pipe is set before the handler
    // is), and `write`. It allocates nothing, takes no lock and does not unwind. The write cannot
    // fail, which would change the interrupted code's `errno`, nor block: the pipe is never closed
    // and holds thousands of signals while the thread reads.
    extern "C" fn handler(_number: c_int) {
        if let Some(mut pipe) = PIPE.get() {
            let _ = pipe.write(&[1]);
        }
    }

    for number in [SIGINT, SIGTERM] {
        // SAFETY: the numbers are those of every Unix, the handler has the signature that
        // `signal` asks for, lives as long as the program and does only what the above says.
        unsafe {
            if signal(number, handler as extern "C" fn(c_int) as usize) == IGNORE {
                signal(number, IGNORE);
            }
        }
    }
}
