//! Two hosts on this machine, with a wire between them that can be cut without a word: two network
//! namespaces and a pair of devices, made with `ip`, and firewall rules made with `nft`. For that
//! one has to be root.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use assert_cmd::cargo::cargo_bin;

use crate::common::program::Program;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Near,
    Far,
}

/// A direction of the wire, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    ToNear,
    ToFar,
}

impl Way {
    /// Where what is sent that way does not arrive.
    fn ends(self) -> &'static [Host] {
        match self {
            Way::Both => &[Host::Near, Host::Far],
            Way::ToNear => &[Host::Near],
            Way::ToFar => &[Host::Far],
        }
    }
}

/// The two hosts, which are there as long as this value.
#[derive(Debug)]
pub(crate) struct Lab {
    /// The beginning of both names; no other lab has it.
    name: String,
}

/// Runs a command to its end; what it complained of, if it failed.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let complaint = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(complaint()) }
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<(), String> {
    run(Command::new("ip").args(words.split(' ')))
}

impl Lab {
    /// Makes the hosts. `None` where that cannot be done; it says why, past the capture of tests.
    pub(crate) fn open() -> Option<Self> {
        static LABS: AtomicUsize = AtomicUsize::new(0);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let lab = Self { name: format!("tcpkit-{}-{number}", process::id()) };
        match lab.build() {
            Ok(()) => Some(lab),
            Err(why) => {
                let _ = writeln!(io::stderr(), "skipped, there is no network to be cut: {why}");
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let owner = std::fs::metadata("/proc/self").map_err(|error| format!("/proc: {error}"))?;
        if owner.uid() != 0 {
            return Err("that takes root".into());
        }
        run(Command::new("nft").arg("--version"))?;
        let [near, far] = [Host::Near, Host::Far].map(|host| self.namespace(host));
        ip(&format!("netns add {near}"))?;
        ip(&format!("netns add {far}"))?;
        ip(&format!("link add wire netns {near} type veth peer name wire netns {far}"))?;
        for (namespace, address) in [(near, "10.88.0.1/24"), (far, "10.88.0.2/24")] {
            ip(&format!("-n {namespace} address add {address} dev wire"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} link set wire up"))?;
        }
        Ok(())
    }

    fn namespace(&self, host: Host) -> String {
        format!("{}-{}", self.name, if host == Host::Near { "near" } else { "far" })
    }

    /// A command that runs on a host: `ip` becomes the program, so that its id is the program's.
    fn command(&self, host: Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program);
        command
    }

    fn nft(&self, host: Host, rules: &str) -> Result<(), String> {
        run(self.command(host, "nft").arg(rules))
    }

    /// Whatever comes over the wire to the ends of that way meets this fate.
    fn rule(&self, way: Way, fate: &str) {
        for end in way.ends() {
            let rules = "add table inet wire; \
                         add chain inet wire in { type filter hook input priority 0; }; \
                         add rule inet wire in iifname \"wire\"";
            self.nft(*end, &format!("{rules} {fate}")).expect("a rule");
        }
    }

    /// From now on nothing arrives that way, and nobody is told.
    pub(crate) fn cut(&self, way: Way) {
        self.rule(way, "drop");
    }

    /// From now on whatever is sent that way is answered with a reset.
    pub(crate) fn reset(&self, way: Way) {
        self.rule(way, "meta l4proto tcp reject with tcp reset");
    }

    /// Takes all rules out.
    pub(crate) fn heal(&self) {
        for host in [Host::Near, Host::Far] {
            self.nft(host, "flush ruleset").expect("no rules");
        }
    }

    /// A server on the far host, and its address, which both hosts reach.
    pub(crate) fn serve(&self, arguments: &[&str]) -> (Program, SocketAddr) {
        let mut command = self.command(Host::Far, cargo_bin!("server"));
        command.args(["--bind", "10.88.0.2:0"]).args(arguments);
        let server = Program::start(command);
        let address = server.address();
        (server, address)
    }

    /// The command for a client on a host.
    pub(crate) fn client(&self, host: Host, address: SocketAddr, name: &str) -> Command {
        let mut command = self.command(host, cargo_bin!("client"));
        command.args(["--server", &address.to_string(), "--name", name]);
        command
    }
}

impl Drop for Lab {
    /// Takes the hosts away again, with the wire; it may be that not all of it was made.
    fn drop(&mut self) {
        for host in [Host::Near, Host::Far] {
            let _ = ip(&format!("netns delete {}", self.namespace(host)));
        }
    }
}
