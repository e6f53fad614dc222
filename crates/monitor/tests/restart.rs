//! Restart policies in the monitor: what a life leaves to the next, also through a re-execution.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use common::Fixture;
use onggi_monitor::client::Connection;
use onggi_monitor::policy::Restart;
use onggi_monitor::protocol::{Condition, Reply, Request};
use onggi_monitor::state::Phase;
use rustix::process::{Pid, Signal, kill_process};

/// Returns once this many lives have said their line. Who runs may not have come to it yet.
fn wait_for_lines(fixture: &Fixture, count: usize) {
    let lines = || std::fs::read_to_string(fixture.path("container/log/json.log")).unwrap().lines().count();
    while lines() < count {
        std::thread::yield_now();
    }
}

/// Past the monitor, so that nobody has asked for the end.
fn end_life(fixture: &Fixture) {
    kill_process(Pid::from_raw(fixture.state().pid).unwrap(), Signal::KILL).unwrap();
}

fn next_event(monitor: &mut Connection, subscription: u32) -> String {
    match monitor.reply_to(subscription).unwrap() {
        Reply::Event { event } => event.action,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_policy_goes_on_in_a_new_program_also_between_two_lives() {
    let mut fixture = Fixture::new("echo life; exec sleep 1000");
    fixture.start.restart = Restart::Always;
    let mut running = fixture.run();
    let monitor = &mut running.monitor;
    monitor.order(&Request::Reexec, &[]).unwrap();
    let subscription = monitor.order(&Request::Subscribe, &[]).unwrap();
    let wait = monitor.order(&Request::Wait { condition: Condition::Exited, finish: false }, &[]).unwrap();
    wait_for_lines(&fixture, 1);
    end_life(&fixture);
    assert_eq!(next_event(monitor, subscription), "die");
    assert!(matches!(monitor.reply_to(wait).unwrap(), Reply::Exited { code: 137, .. }), "of this life");
    assert_eq!(next_event(monitor, subscription), "start");
    // The second pause is 200 ms: time enough for a new program to take it over.
    wait_for_lines(&fixture, 2);
    end_life(&fixture);
    assert_eq!(next_event(monitor, subscription), "die");
    assert_eq!((fixture.state().status, fixture.state().restart_count), (Phase::Restarting, 2));
    monitor.order(&Request::Reexec, &[]).unwrap();
    assert_eq!(next_event(monitor, subscription), "start");
    assert_eq!((fixture.state().status, fixture.state().exit_code), (Phase::Running, 0));
    wait_for_lines(&fixture, 3);
    let stop = Request::Stop { signal: 0, timeout_ms: Some(0), starts_again: false };
    assert!(matches!(monitor.call(&stop, &[]).unwrap(), Reply::Exited { code: 137, .. }));
    let state = fixture.state();
    assert_eq!((state.status, state.restart_count, state.stopped), (Phase::Exited, 2, true));
    assert_eq!(fixture.log().len(), 3, "one line of each life");
    fixture.assert_nothing_left();
}

#[test]
fn a_stop_between_two_lives_is_answered_with_the_last_end() {
    let mut fixture = Fixture::new("exit 3");
    fixture.start.restart = Restart::OnFailure { most: 0 };
    let mut running = fixture.run();
    let monitor = &mut running.monitor;
    let subscription = monitor.order(&Request::Subscribe, &[]).unwrap();
    // After some ends the pause is long enough to be met.
    while fixture.state().restart_count < 4 {
        next_event(monitor, subscription);
    }
    while fixture.state().status != Phase::Restarting {
        next_event(monitor, subscription);
    }
    let refused = monitor.order(&Request::Pause, &[]).unwrap_err().to_string();
    assert!(refused.contains("is restarting"), "{refused}");
    let reply =
        monitor.call(&Request::Stop { signal: 0, timeout_ms: None, starts_again: false }, &[]).unwrap();
    assert!(matches!(reply, Reply::Exited { code: 3, .. }), "{reply:?}");
    assert_eq!(fixture.state().status, Phase::Exited);
    fixture.assert_nothing_left();
}

/// What is in a frozen cgroup's child begins, and gets no further until it is let go.
#[test]
fn a_life_that_begins_can_be_stopped_and_killed() {
    let stop = |signal, timeout_ms| Request::Stop { signal, timeout_ms, starts_again: false };
    for (end, told) in [
        // As the first process of its namespace it does not hear SIGTERM, and is killed.
        (stop(0, Some(500)), "kill die 137 stop"),
        (stop(9, None), "die 137 stop"),
        (Request::Signal { signal: 9, exec: None, all: false }, "die 137"),
    ] {
        let mut fixture = Fixture::new("exec sleep 1000");
        fixture.start.restart = Restart::Always;
        fixture.cgroup_below = "/life";
        let mut running = fixture.run();
        let monitor = &mut running.monitor;
        let subscription = monitor.order(&Request::Subscribe, &[]).unwrap();
        end_life(&fixture);
        assert_eq!(next_event(monitor, subscription), "die");
        let layout = onggi_cgroup::detect().unwrap();
        let above = onggi_cgroup::Cgroup::open(&layout, &fixture.cgroup()).unwrap();
        above.freeze(true).unwrap();
        let life = fixture.cgroup() + fixture.cgroup_below;
        while onggi_cgroup::Cgroup::open(&layout, &life).map_or(0, |life| life.pids().unwrap().len()) == 0 {
            std::thread::yield_now();
        }
        let refused = monitor.call(&Request::Pause, &[]).unwrap_err().to_string();
        assert!(refused.contains("is restarting"), "{refused}");
        let is_stop = matches!(end, Request::Stop { .. });
        let asked = monitor.send(&end, &[]).unwrap();
        // Once this is answered, what was asked before has been heard.
        monitor.call(&Request::Status, &[]).unwrap();
        above.freeze(false).unwrap();
        let wait = Request::Wait { condition: Condition::Exited, finish: false };
        let question = if is_stop { asked } else { monitor.order(&wait, &[]).unwrap() };
        let reply = monitor.reply_to(question).unwrap();
        assert!(matches!(reply, Reply::Exited { code: 137, error: None, .. }), "{reply:?}");
        let state = fixture.state();
        assert_eq!((state.status, state.stopped), (Phase::Exited, true));
        let events = fixture.events().join(" ");
        assert!(events.ends_with(told), "{events}");
    }
}
