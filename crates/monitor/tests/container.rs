//! A container's life under a real monitor: start, output, standard input, exec, signals, end.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;

use common::{Fixture, output, unframe};
use onggi_monitor::protocol::Streams;
use onggi_monitor::state::Phase;

#[test]
fn output_is_logged_and_handed_over_before_the_end_is_told() {
    let fixture = Fixture::new("echo out; echo err >&2; exit 7");
    let mut running = fixture.run_attached(Some(output()));
    assert_eq!(running.code(), 7);
    assert_eq!(unframe(&running.read_all()), (b"out\n".to_vec(), b"err\n".to_vec()));
    let mut log = fixture.log();
    log.sort();
    assert_eq!(log, [("stderr".into(), "err\n".into()), ("stdout".into(), "out\n".into())]);
    let state = fixture.state();
    assert_eq!((state.status, state.exit_code, state.pid), (Phase::Exited, 7, 0));
    assert!(state.started_at < state.finished_at);
    assert_eq!(fixture.events(), ["start", "die 7"]);
    fixture.assert_nothing_left();
}

#[test]
fn standard_input_half_closes() {
    let mut fixture = Fixture::new("cat; echo end");
    (fixture.start.stdin_open, fixture.start.stdin_once) = (true, true);
    let streams = Streams { stdin: true, ..output() };
    let mut running = fixture.run_attached(Some(streams));
    let stream = running.stream.as_mut().unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(unframe(&running.read_all()).0, b"hello\nend\n");
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}
