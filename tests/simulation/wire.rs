//! One connection: its two directions, and what each side's shell keeps of it.

use tcpkit::frame::{Framer, HANDSHAKE_FRAME_MAX};
use tcpkit::hub::{LinkId, Order, Taken};

use tcpkit::message::kind;

use crate::checks::heart::{FIRST_HEARTBEAT, Heart, Sniffer};
use crate::network::{Came, Pipe, Time, Way};

/// What the server's shell keeps of a connection.
pub(crate) struct ServerSide {
    pub(crate) link: Option<LinkId>,
    pub(crate) framer: Framer,
    pub(crate) taken: Taken,
    /// The helper that is at work, with the order that it has in hand.
    pub(crate) helper: Option<Order>,
    /// A helper was asked for, and has not begun.
    pub(crate) awaits_helper: bool,
    /// An order that a thread was given and has not carried out yet.
    pub(crate) late: Option<Order>,
    /// The connection is closed, or belongs to a server that is no more.
    pub(crate) is_closed: bool,
}

/// How a session goes on over this connection, as it was when the InitAck was composed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resumption {
    /// The `seq` of the oldest record that was held.
    pub(crate) oldest: u64,
    pub(crate) missed: u64,
    /// The last record by then.
    pub(crate) head: u64,
}

pub(crate) struct Wire {
    pub(crate) client: usize,
    pub(crate) epoch: u32,
    /// So much room is left free by every read.
    pub(crate) spare: usize,
    up: Pipe,
    down: Pipe,
    pub(crate) server: ServerSide,
    /// Whether the client's socket is open.
    pub(crate) client_is_open: bool,
    /// The session that the server has given to it.
    pub(crate) session: Option<usize>,
    pub(crate) resumption: Option<Resumption>,
    /// Which heartbeats must leave when: of the server, of the client.
    pub(crate) server_heart: Heart,
    pub(crate) client_heart: Heart,
    /// When each side has last read a byte, or was excused.
    pub(crate) server_heard: Time,
    pub(crate) client_heard: Time,
    down_sniffer: Sniffer,
}

impl Wire {
    pub(crate) fn new(client: usize, epoch: u32, capacity: usize, hearts: (Heart, Heart)) -> Self {
        Self {
            client,
            epoch,
            spare: 0,
            up: Pipe::new(capacity),
            down: Pipe::new(capacity),
            server: ServerSide {
                link: None,
                framer: Framer::new(HANDSHAKE_FRAME_MAX),
                taken: Taken::All,
                helper: None,
                awaits_helper: false,
                late: None,
                is_closed: false,
            },
            client_is_open: true,
            session: None,
            resumption: None,
            server_heart: hearts.0,
            client_heart: hearts.1,
            server_heard: 0,
            client_heard: 0,
            down_sniffer: Sniffer::default(),
        }
    }

    pub(crate) fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

impl Wire {
    /// The server reads at most so many bytes; its framer is to be told.
    pub(crate) fn read_up(&mut self, most: usize, now: Time) -> Came {
        let space = self.server.framer.space();
        let size = most.min(space.len() - self.spare);
        let came = self.up.read(&mut space[..size], now);
        if let Came::Bytes(count) = came {
            self.server_heart.hear(&space[..count], now);
        }
        came
    }

    /// The client reads into its framer.
    pub(crate) fn read_down(&mut self, framer: &mut Framer, most: usize, now: Time) -> Came {
        let space = framer.space();
        let size = most.min(space.len() - self.spare);
        let came = self.down.read(&mut space[..size], now);
        if let Came::Bytes(count) = came {
            self.client_heart.hear(&space[..count], now);
            framer.filled(count);
        }
        came
    }

    /// Looks at what the server has written; how many heartbeats there were.
    pub(crate) fn sniff_down(&mut self, bytes: &[u8], now: Time) -> u64 {
        let (mut pings, heart) = (0, &mut self.server_heart);
        let mut sniffer = std::mem::take(&mut self.down_sniffer);
        sniffer.read(bytes, |kind, nonce| {
            if kind == kind::PING && nonce >= FIRST_HEARTBEAT {
                heart.ping(nonce, now);
                pings += 1;
            }
        });
        self.down_sniffer = sniffer;
        pings
    }
}

impl Wire {
    /// Whether what the server has written ends in the middle of a frame.
    pub(crate) fn is_in_mid_frame(&self) -> bool {
        self.down_sniffer.is_in_mid_frame()
    }
}
