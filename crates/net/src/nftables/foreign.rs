//! Other people's chains at the forward hook. An accept in Onggi's table is not the last word: a chain of another table may drop the same
//! packet, and then containers reach nothing. Here such chains are found; nothing of them is changed ([`super::docker`] has the one place
//! that an owner has made for others).

use super::batch::{Family, kind, message};
use crate::Error;
use crate::netlink::Socket;
use crate::netlink::message::{Attributes, DUMP};

/// A chain that drops packets from or to a bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// As nft says it: `ip`, `ip6`, `inet`.
    pub family: &'static str,
    pub table: String,
    pub chain: String,
    owner: Owner,
}

/// Whose words to mend it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Firewalld,
    Ufw,
    Iptables,
    Other,
}

impl Obstacle {
    /// `table ip filter, chain FORWARD`
    #[must_use]
    pub fn name(&self) -> String {
        format!("table {} {}, chain {}", self.family, self.table, self.chain)
    }

    /// The commands that let a bridge's packets through.
    #[must_use]
    pub fn mend(&self, bridge: &str) -> String {
        let Obstacle { family, table, chain, .. } = self;
        match self.owner {
            Owner::Firewalld => {
                format!(
                    "firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
                )
            }
            Owner::Ufw => format!("ufw route allow in on {bridge} && ufw route allow out on {bridge}"),
            Owner::Iptables => {
                let program = if *family == "ip6" { "ip6tables" } else { "iptables" };
                format!(
                    "{program} -I {chain} -i {bridge} -j ACCEPT && {program} -I {chain} -o {bridge} -j ACCEPT"
                )
            }
            Owner::Other => format!(
                "nft insert rule {family} {table} {chain} iifname {bridge} accept && \
                 nft insert rule {family} {table} {chain} oifname {bridge} accept"
            ),
        }
    }
}

/// A chain as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) family: u8,
    pub(super) table: String,
    pub(super) name: String,
    /// Every packet that is passed on comes by.
    pub(super) forwards: bool,
    pub(super) drops: bool,
}

/// All chains of all tables.
pub(super) fn chains(socket: &mut Socket) -> Result<Vec<Chain>, Error> {
    let mut all = Vec::new();
    let question = message(Family::Any, kind::GET_CHAIN, DUMP);
    socket.query(
        question,
        || "list the chains of nf_tables".to_owned(),
        |each| {
            let (Some(&family), Some(attributes)) = (each.body.first(), each.body.get(4..).map(Attributes))
            else {
                return;
            };
            let (Some(table), Some(name)) = (attributes.find_text(1), attributes.find_text(3)) else {
                return;
            };
            let number = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
            let hook = attributes.find(4).and_then(|hook| number(Attributes(hook).find(1)?));
            all.push(Chain {
                family,
                table: table.to_owned(),
                name: name.to_owned(),
                forwards: hook == Some(FORWARD) && attributes.find_text(7) == Some("filter"),
                drops: attributes.find(5).and_then(number) == Some(DROP),
            });
        },
    )?;
    Ok(all)
}

/// The chains that drop what this bridge forwards; with `ipv6` also of that family. `own` is our table.
///
/// # Errors
/// [`Error::Netlink`].
pub fn obstacles(socket: &mut Socket, own: &str, bridge: &str, ipv6: bool) -> Result<Vec<Obstacle>, Error> {
    let all = chains(socket)?;
    let mut found = Vec::new();
    for chain in all.iter().filter(|chain| chain.forwards) {
        let family = match chain.family {
            INET => "inet",
            IPV4 => "ip",
            IPV6 if ipv6 => "ip6",
            _ => continue,
        };
        if family == "inet" && (chain.table == own || chain.table.starts_with("onggi")) {
            continue;
        }
        let rules = rules(socket, chain.family, &chain.table, None)?;
        if !is_obstacle(chain, &rules, bridge) {
            continue;
        }
        let has = |name: &str| {
            all.iter().any(|other| {
                (other.family, &other.table) == (chain.family, &chain.table) && other.name == name
            })
        };
        let owner = match chain.table.as_str() {
            "firewalld" => Owner::Firewalld,
            _ if has("ufw-user-forward") || has("ufw6-user-forward") => Owner::Ufw,
            "filter" if family != "inet" && chain.name == "FORWARD" => Owner::Iptables,
            _ => Owner::Other,
        };
        found.push(Obstacle { family, table: chain.table.clone(), chain: chain.name.clone(), owner });
    }
    found.sort();
    Ok(found)
}

/// Whether it drops what no rule takes, and no rule of its table names the bridge: where one does, somebody has thought of it.
fn is_obstacle(chain: &Chain, rules: &[Rule], bridge: &str) -> bool {
    if rules.iter().any(|rule| rule.names(bridge)) {
        return false;
    }
    let last = rules.iter().filter(|rule| rule.chain == chain.name).find_map(|rule| rule.of_all);
    match last {
        Some(Fate::Accepted) => false,
        Some(Fate::Dropped) => true,
        None => chain.drops,
    }
}

/// A rule of a table, as far as matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: String,
    pub(super) handle: u64,
    pub(super) comment: String,
    /// What it compares something with.
    compared: Vec<Vec<u8>>,
    /// What becomes of every packet that comes to it, if that does not depend on the packet.
    of_all: Option<Fate>,
    pub(super) returns_all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
}

impl Rule {
    /// Whether it is about this link: by its name, or by the beginning of names.
    fn names(&self, link: &str) -> bool {
        self.compared.iter().any(|value| match value.iter().position(|&byte| byte == 0) {
            Some(end) => &value[..end] == link.as_bytes(),
            None => value.len() >= SHORTEST_BEGINNING && link.as_bytes().starts_with(value),
        })
    }

    fn parse(attributes: &Attributes<'_>) -> Option<Rule> {
        let mut rule = Rule {
            chain: attributes.find_text(2)?.to_owned(),
            handle: u64::from_be_bytes(attributes.find(3)?.try_into().ok()?),
            comment: attributes.find(7).and_then(comment).unwrap_or_default(),
            compared: Vec::new(),
            of_all: None,
            returns_all: false,
        };
        let mut depends = false;
        for (_, element) in Attributes(attributes.find(4).unwrap_or_default()) {
            let expression = Attributes(element);
            let data = Attributes(expression.find(2).unwrap_or_default());
            let verdict = || {
                let code = Attributes(Attributes(data.find(2)?).find(2)?).find(1)?;
                Some(u32::from_be_bytes(code.try_into().ok()?))
            };
            match expression.find_text(1)? {
                "cmp" => {
                    depends = true;
                    let value = data.find(3).and_then(|value| Attributes(value).find(1));
                    rule.compared.extend(value.map(<[u8]>::to_vec));
                }
                "counter" | "log" => {}
                "reject" if !depends => rule.of_all = rule.of_all.or(Some(Fate::Dropped)),
                "immediate" if !depends => match verdict() {
                    Some(DROP) => rule.of_all = rule.of_all.or(Some(Fate::Dropped)),
                    Some(ACCEPT) => rule.of_all = rule.of_all.or(Some(Fate::Accepted)),
                    Some(RETURN) => rule.returns_all = true,
                    _ => {}
                },
                _ => depends = true,
            }
        }
        Some(rule)
    }
}

/// The rules of a table, or of one chain of it, in order.
pub(super) fn rules(
    socket: &mut Socket,
    family: u8,
    table: &str,
    chain: Option<&str>,
) -> Result<Vec<Rule>, Error> {
    let mut all = Vec::new();
    let mut question = message(Family::Other(family), kind::GET_RULE, DUMP).text(1, table);
    if let Some(chain) = chain {
        question = question.text(2, chain);
    }
    socket.query(
        question,
        || format!("list the rules of the nf_tables table {table}"),
        |each| {
            let attributes = Attributes(each.body.get(4..).unwrap_or_default());
            // Kernels before 6.2 do not look at the table.
            if attributes.find_text(1) == Some(table)
                && chain.is_none_or(|chain| attributes.find_text(2) == Some(chain))
            {
                all.extend(Rule::parse(&attributes));
            }
        },
    )?;
    Ok(all)
}

/// What nft and iptables show as the comment of a rule: the first of the user's data.
fn comment(data: &[u8]) -> Option<String> {
    let (&[kind, length], text) = data.split_first_chunk::<2>()?;
    let text = text.get(..usize::from(length))?.strip_suffix(&[0])?;
    (kind == 0).then(|| String::from_utf8_lossy(text).into_owned())
}

/// `NFPROTO_…`
pub(super) const INET: u8 = 1;
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;
/// `NF_INET_FORWARD`
const FORWARD: u32 = 2;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// `NFT_RETURN`
const RETURN: u32 = (-5_i32).cast_unsigned();
/// The beginning of a link's name that a rule is about, bytes; anything shorter may be anything.
const SHORTEST_BEGINNING: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way() {
        let chain = |drops| Chain {
            family: INET,
            table: "t".to_owned(),
            name: "c".to_owned(),
            forwards: true,
            drops,
        };
        let rule = |compared: &[&str], of_all| Rule {
            chain: "c".to_owned(),
            handle: 1,
            comment: String::new(),
            compared: compared.iter().map(|text| text.as_bytes().to_vec()).collect(),
            of_all,
            returns_all: false,
        };
        let elsewhere = Rule { chain: "d".to_owned(), ..rule(&[], Some(Fate::Dropped)) };
        for (drops, rules, obstacle) in [
            (false, vec![], false),
            (true, vec![], true),
            (true, vec![rule(&["eth0\0"], None)], true),
            (true, vec![rule(&["onggi0\0"], None)], false),
            (true, vec![rule(&["onggi"], None)], false),
            (true, vec![rule(&["onggi01\0"], None)], true),
            (true, vec![rule(&[], Some(Fate::Accepted)), rule(&[], Some(Fate::Dropped))], false),
            (false, vec![rule(&[], Some(Fate::Dropped))], true),
            (false, vec![elsewhere], false),
        ] {
            assert_eq!(is_obstacle(&chain(drops), &rules, "onggi0"), obstacle, "{drops} {rules:?}");
        }
    }

    #[test]
    fn the_words_of_the_owner() {
        let mend = |owner| {
            Obstacle { family: "ip", table: "filter".to_owned(), chain: "FORWARD".to_owned(), owner }
                .mend("onggi0")
        };
        insta::assert_snapshot!(
            [Owner::Firewalld, Owner::Ufw, Owner::Iptables, Owner::Other].map(mend).join("\n"),
            @r"
        firewall-cmd --permanent --zone=trusted --add-interface=onggi0 && firewall-cmd --reload
        ufw route allow in on onggi0 && ufw route allow out on onggi0
        iptables -I FORWARD -i onggi0 -j ACCEPT && iptables -I FORWARD -o onggi0 -j ACCEPT
        nft insert rule ip filter FORWARD iifname onggi0 accept && nft insert rule ip filter FORWARD oifname onggi0 accept
        "
        );
        assert_eq!(comment(&[0, 3, b'h', b'i', 0, 9]), Some("hi".to_owned()));
        assert_eq!(comment(&[0, 9, b'h', 0]), None);
    }
}
