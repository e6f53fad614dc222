//! The table in the kernel, as nft shows it. `nft` is of the tests alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{leave_network, output, without_root};
use onggi_net::Socket;
use onggi_net::endpoint::Protocol;
use onggi_net::nftables::{Change, Published, Table, Watch};

fn port(protocol: Protocol, host: &str, container: &str) -> Change<'static> {
    Change::Port(Published { protocol, host: host.parse().unwrap(), container: container.parse().unwrap() })
}

fn list() -> String {
    output("nft", &["list", "table", "inet", "onggi"])
}

/// What the seal's name is depends on how this kernel shows rules.
fn without_sum(list: &str) -> String {
    let (before, rest) = list.split_once("seal-").unwrap();
    format!("{before}seal-…{}", rest.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()))
}

#[test]
fn the_table_is_what_nft_reads_in_it() {
    if without_root() {
        return;
    }
    leave_network();
    let (mut socket, table) = (Socket::netfilter().unwrap(), Table::new("onggi"));
    let elements = [
        Change::Bridge { name: "onggi0", internal: false },
        Change::Bridge { name: "og-0123456789", internal: true },
        port(Protocol::Tcp, "0.0.0.0:8080", "10.192.0.2:80"),
        port(Protocol::Udp, "0.0.0.0:53", "10.192.0.2:5353"),
        port(Protocol::Sctp, "0.0.0.0:9", "10.192.0.2:9"),
        port(Protocol::Tcp, "127.0.0.1:8081", "10.192.0.2:81"),
        port(Protocol::Tcp, "[::]:8080", "[fd00::2]:80"),
        port(Protocol::Tcp, "[::]:8081", "10.192.0.2:80"),
        port(Protocol::Udp, "[2001:db8::1]:8082", "10.192.0.2:80"),
        Change::Itself("10.192.0.2".parse().unwrap()),
        Change::Itself("fd00::2".parse().unwrap()),
        port(Protocol::Udp, "[2001:db8::1]:53", "[fd00::2]:5353"),
    ];
    table.rebuild(&mut socket, &elements).unwrap();
    insta::assert_snapshot!(without_sum(&list()));
    assert!(table.is_whole(&mut socket).unwrap());
}

#[test]
fn elements_come_and_go_all_or_none() {
    if without_root() {
        return;
    }
    leave_network();
    let (mut socket, table) = (Socket::netfilter().unwrap(), Table::new("onggi"));
    let web = port(Protocol::Tcp, "0.0.0.0:8080", "10.192.0.2:80");
    let name = port(Protocol::Udp, "0.0.0.0:53", "10.192.0.2:53");
    let error = table.apply(&mut socket, std::slice::from_ref(&web), &[]).unwrap_err();
    assert_eq!(error.errno(), Some(2), "there is no table: {error}");

    table.rebuild(&mut socket, &[]).unwrap();
    let empty = list();
    table.apply(&mut socket, &[web.clone(), name.clone()], &[]).unwrap();
    table.apply(&mut socket, std::slice::from_ref(&web), &[]).unwrap();
    assert!(list().contains("tcp . 8080 : 10.192.0.2 . 80"), "{}", list());
    let other = port(Protocol::Tcp, "0.0.0.0:8080", "10.192.0.3:80");
    table.apply(&mut socket, std::slice::from_ref(&other), &[]).unwrap_err();
    for (change, leads) in [(&web, Some(true)), (&other, Some(false))] {
        let Change::Port(port) = change else { continue };
        assert_eq!(table.leads_there(&mut socket, port).unwrap(), leads);
        let elsewhere = Published { host: "0.0.0.0:1".parse().unwrap(), ..*port };
        assert_eq!(table.leads_there(&mut socket, &elsewhere).unwrap(), None);
    }
    // One of them is not there: neither goes.
    table
        .apply(&mut socket, &[], &[web.clone(), port(Protocol::Tcp, "0.0.0.0:1", "10.192.0.2:1")])
        .unwrap_err();
    assert!(list().contains("tcp . 8080 : 10.192.0.2 . 80"), "{}", list());
    table.apply(&mut socket, &[], &[web, name]).unwrap();
    assert_eq!(list(), empty);
}

#[test]
fn a_damaged_table_is_not_whole() {
    if without_root() {
        return;
    }
    leave_network();
    let (mut socket, table) = (Socket::netfilter().unwrap(), Table::new("onggi"));
    assert!(!table.is_whole(&mut socket).unwrap(), "there is none");
    for damage in [
        &["flush", "chain", "inet", "onggi", "forward"][..],
        &["flush", "table", "inet", "onggi"],
        &["delete", "chain", "inet", "onggi", "layout-5"],
        &["insert", "rule", "inet", "onggi", "forward", "accept"],
        &["flush", "ruleset"],
    ] {
        table.rebuild(&mut socket, &[]).unwrap();
        assert!(table.is_whole(&mut socket).unwrap() && table.stands(&mut socket).unwrap());
        output("nft", damage);
        assert!(!table.is_whole(&mut socket).unwrap(), "after {damage:?}");
        assert!(!table.stands(&mut socket).unwrap(), "after {damage:?}");
    }
    // As many as before, and one of them another, or each.
    let shown = || output("nft", &["--handle", "list", "table", "inet", "onggi"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let load = ["-f", file.path().to_str().unwrap()];
    for text in ["iifname @internal drop", "oifname @bridges drop"] {
        table.rebuild(&mut socket, &[]).unwrap();
        let all = shown();
        let handle = all.lines().find_map(|line| line.trim().strip_prefix(text)?.strip_prefix(" # handle "));
        output("nft", &["replace", "rule", "inet", "onggi", "forward", "handle", handle.unwrap(), "accept"]);
        assert!(!table.is_whole(&mut socket).unwrap() && !table.stands(&mut socket).unwrap(), "{text}");
    }
    table.rebuild(&mut socket, &[]).unwrap();
    std::fs::write(&file, format!("flush table inet onggi\n{}", list().replace(" drop", " accept"))).unwrap();
    output("nft", &load);
    assert!(!table.is_whole(&mut socket).unwrap(), "{}", list());
    table.rebuild(&mut socket, &[]).unwrap();
    assert!(table.is_whole(&mut socket).unwrap());
    // Of another version: a command makes it anew, and a monitor leaves it alone.
    table.rebuild(&mut socket, &[]).unwrap();
    output("nft", &["delete", "chain", "inet", "onggi", "layout-5"]);
    output("nft", &["add", "chain", "inet", "onggi", "layout-9"]);
    assert!(!table.is_whole(&mut socket).unwrap() && table.stands(&mut socket).unwrap());
}

#[test]
fn ten_thousand_ports_are_one_batch() {
    if without_root() {
        return;
    }
    leave_network();
    let (mut socket, table) = (Socket::netfilter().unwrap(), Table::new("onggi"));
    let many: Vec<Change<'_>> = (1..=10_000)
        .map(|number| port(Protocol::Tcp, &format!("0.0.0.0:{number}"), &format!("10.192.0.2:{number}")))
        .collect();
    table.rebuild(&mut socket, &many).unwrap();
    assert_eq!(list().matches("10.192.0.2").count(), 10_000);
    table.apply(&mut socket, &[], &many).unwrap();
    assert!(!list().contains("10.192.0.2"));
}

#[test]
fn changes_of_others_wake_and_onggi_s_own_do_not() {
    if without_root() {
        return;
    }
    leave_network();
    let (mut socket, table) = (Socket::netfilter().unwrap(), Table::new("onggi"));
    table.rebuild(&mut socket, &[]).unwrap();
    let watch = Watch::open().unwrap();
    let web = port(Protocol::Tcp, "0.0.0.0:8080", "10.192.0.2:80");
    table.apply(&mut socket, std::slice::from_ref(&web), &[]).unwrap();
    table.apply(&mut socket, &[], std::slice::from_ref(&web)).unwrap();
    assert!(!watch.heard(), "what Onggi takes out itself");
    output("nft", &["add", "table", "ip", "other"]);
    assert!(watch.heard(), "another's table");
    table.apply(&mut socket, std::slice::from_ref(&web), &[]).unwrap();
    assert!(!watch.heard(), "what Onggi adds");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "table ip new {}\ndelete chain inet onggi layout-5\n").unwrap();
    let others = ["-f", file.path().to_str().unwrap()];
    for damage in [
        &["add", "chain", "ip", "other", "one"][..],
        &["delete", "chain", "ip", "other", "one"],
        &["delete", "table", "ip", "other"],
        &["flush", "map", "inet", "onggi", "ports4"],
        &others,
        &["flush", "chain", "inet", "onggi", "forward"],
        &["flush", "ruleset"],
    ] {
        output("nft", damage);
        assert!(watch.heard(), "after {damage:?}");
        assert!(!watch.heard(), "once");
    }
    // More than the socket holds.
    for _ in 0..20 {
        output("nft", &["add", "table", "ip", "other"]);
        output("nft", &["delete", "table", "ip", "other"]);
    }
    assert!(watch.heard());
    table.rebuild(&mut socket, &[]).unwrap();
    assert!(!watch.heard(), "Onggi's own table made anew");
}
