//! What happened over all schedules, counted: a simulation that quietly stops to exercise
//! something would find nothing there any more.

macro_rules! coverage {
    ($($name:ident),+ $(,)?) => {
        #[derive(Debug, Clone, Default)]
        pub(crate) struct Coverage { $(pub(crate) $name: u64,)+ }

        impl Coverage {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            pub(crate) fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

coverage! {
    // What the network and the programs did.
    cuts, cuts_with_losses, fuses, silences, stalls, freezes, server_freezes, vanished,
    crashes, shutdowns, failed_dials, hung_dials, closes, newcomers, turned_away,
    // What the machines made of it.
    sessions, resumes, takeovers, gaps, missed_records, sessions_lost, unknown_fates, graces_over,
    crowded_out, accepted, refused, not_utf8, too_large, no_recipient, directs_to_absent,
    delivered, histories, lags, helpers_missing, handed_over, let_go, let_go_torn, carried,
    blocked_by_log, blocked_by_debt, late_commits, group_commits, barriers,
    pings, stray_pongs, repeats,
    heartbeats_of_servers, heartbeats_of_clients, dead_clients, dead_servers, given_up,
    idle, turned_down_while_full,
    // Turns.
    turns, moves_accepted, moves_refused, time_outs, turn_outs, holders_away, holders_back,
    holders_whose_grace_ended, holders_taken_over, gos_again, waits, games_paused, games_resumed,
    rounds_of_all, knowledge_checked,
}
