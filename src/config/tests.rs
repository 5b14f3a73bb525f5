//! Tables over whole files: what is taken, what is refused and with which words.

use super::lint::{LintInput, lint};
use super::*;
use crate::ids::Sid;

const ARTICLE: &str = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/data/server/zk1/data\n\
    dataLogDir=/data/server/zk1/log\nclientPort=2181\nserver.1=192.168.10.126:2182:2183\n\
    server.2=192.168.10.127:2182:2183\nserver.3=192.168.10.128:2182:2183\n";

fn finish(text: &str, my_id: MyId<'_>) -> Result<(ServerConfig, Vec<Problem>), ConfigErrors> {
    Draft::read("zoo.cfg", text, &[]).finish(my_id, None)
}

fn good(text: &str, my_id: &str) -> (ServerConfig, Vec<String>) {
    let (config, warnings) = finish(text, MyId::Text(my_id)).unwrap();
    (config, warnings.iter().map(Problem::to_string).collect())
}

fn bad(text: &str, my_id: &str) -> Vec<String> {
    let errors = finish(text, MyId::Text(my_id)).unwrap_err();
    errors.errors.iter().map(Problem::to_string).collect()
}

#[test]
fn the_article_s_file_is_taken() {
    let (config, warnings) = good(ARTICLE, "2\n");
    assert_eq!(warnings, [""; 0]);
    assert_eq!((config.tick_ms, config.init_limit, config.sync_limit), (2000, 10, 5));
    assert_eq!((config.min_session_ms, config.max_session_ms), (4000, 40_000));
    assert_eq!(config.data_log_dir, "/data/server/zk1/log");
    assert_eq!(config.client, Some(ClientAddress { address: None, port: 2181 }));
    assert_eq!(
        (config.my_sid, config.role, config.is_standalone()),
        (Some(Sid(2)), Role::Participant, false)
    );
    assert_eq!(config.me().unwrap().address().quorum_port, 2182);
    assert_eq!((config.members.voters().count(), config.members.majority()), (3, 2));
    assert!(config.whitelist.allows("srvr") && !config.whitelist.allows("stat"));
}

#[test]
fn without_server_lines_it_stands_alone_and_needs_no_myid() {
    let text = "dataDir=/d\nclientPort=2181\n";
    let (config, _) = finish(text, MyId::Missing).unwrap();
    assert!(config.is_standalone());
    assert_eq!((config.tick_ms, config.data_log_dir.as_str(), config.my_sid), (3000, "/d", None));
    assert_eq!(finish(text, MyId::Text("5")).unwrap().0.my_sid, Some(Sid(5)));
}

#[test]
fn one_voter_is_standalone_unless_told_otherwise() {
    let text = "dataDir=/d\nclientPort=2181\nserver.1=h:1:2\n";
    assert!(good(text, "1").0.is_standalone());
    let quorum = format!("{text}standaloneEnabled=false\ninitLimit=5\nsyncLimit=2\n");
    assert!(!good(&quorum, "1").0.is_standalone());
    let with_observer = format!("{text}server.2=i:1:2:observer\ninitLimit=5\nsyncLimit=2\n");
    assert!(bad(&with_observer, "1")[0].contains("observers beside a single voter"));
}

#[test]
fn a_literal_n_is_no_id_but_a_colon_separates() {
    let text =
        ARTICLE.replace("server.3=192.168.10.128:2182:2183", "server.3:192.168.10.128:2182:2183:observer");
    assert_eq!(good(&text, "3").0.role, Role::Observer);
    let text = ARTICLE.replace("server.3=", "server.n:");
    let errors = bad(&text, "1");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("zoo.cfg:9: server.n: `n` is no server id; replace `n` by"), "{errors:?}");
}

#[test]
fn a_port_used_twice_is_refused() {
    let text = "dataDir=/d\nclientPort=2181\ninitLimit=1\nsyncLimit=1\nserver.1=localhost:2181:3181\n\
        server.2=localhost:2281:3281\nserver.3=localhost:2381:3181\n";
    let errors = bad(text, "1");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("zoo.cfg:5: server.1: port 2181 of localhost is both"), "{errors:?}");
    assert!(errors[1].starts_with("zoo.cfg:7: server.3: port 3181 of localhost is both"), "{errors:?}");
    let same = ARTICLE.replace("192.168.10.127:2182:2183", "192.168.10.127:2182:2182");
    assert!(bad(&same, "1")[0].contains("zoo.cfg:8: server.2: port 2182 is both quorum and election port"));
}

#[test]
fn a_trailing_comment_is_refused_saying_so() {
    let errors = bad(&format!("{ARTICLE}autopurge.purgeInterval=1 # hours\n"), "1");
    assert_eq!(
        errors,
        [
            "zoo.cfg:10: autopurge.purgeInterval: `1 # hours` is no value: a comment cannot follow one on its line; \
          put the comment on a line of its own and write autopurge.purgeInterval=1"
        ]
    );
    let (_, warnings) = good(&ARTICLE.replace("/zk1/data", "/zk1/data # snapshots"), "1");
    assert!(warnings[0].contains("`#` and all"), "{warnings:?}");
}

#[test]
fn observer_without_peer_type_or_against_it_warns_and_the_server_line_wins() {
    let observer = ARTICLE.replace("128:2182:2183", "128:2182:2183:observer");
    for (text, role) in [
        (observer.clone(), Role::Observer),
        (format!("{observer}peerType=participant\n"), Role::Observer),
        (format!("{ARTICLE}peerType=observer\n"), Role::Participant),
    ] {
        let (config, warnings) = good(&text, "3");
        assert_eq!(config.role, role);
        assert!(warnings.iter().any(|w| w.contains("the server line wins")), "{warnings:?}");
    }
    let (_, warnings) = good(&format!("{observer}peerType=observer\n"), "3");
    assert!(!warnings.iter().any(|w| w.contains("wins")), "{warnings:?}");
}

#[test]
fn a_server_twice_warns_naming_both_lines() {
    let (config, warnings) = good(&format!("{ARTICLE}server.3=192.168.8.14:2182:2183\n"), "1");
    assert_eq!(config.members.get(Sid(3)).unwrap().address().host, "192.168.8.14");
    let expected =
        "zoo.cfg:10: server.3: is set in line 9 and again in line 10; the last one wins; remove line 9";
    assert_eq!(warnings, [expected]);
}

#[test]
fn a_whitelist_with_an_unknown_word_warns() {
    let (config, warnings) = good(&format!("{ARTICLE}4lw.commands.whitelist=stat, ruok, cnof, isro\n"), "1");
    assert!(
        config.whitelist.allows("isro")
            && config.whitelist.allows("srvr")
            && !config.whitelist.allows("mntr")
    );
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("`cnof` is no four-letter word; did you mean conf?"), "{warnings:?}");
    assert_eq!(good(&format!("{ARTICLE}4lw.commands.whitelist=*\n"), "1").0.whitelist, Whitelist::All);
    let (config, _) = good(&format!("{ARTICLE}4lw.commands.whitelist=ruok, mntr,nope\n"), "1");
    assert!(["ruok", "mntr", "srvr"].iter().all(|w| config.whitelist.allows(w)));
    assert!(!config.whitelist.allows("isro"));
    assert!(crate::wire::words::ALL.iter().all(|w| Whitelist::All.allows(w.text())));
}

#[test]
fn localhost_among_other_hosts_warns() {
    let (_, warnings) = good(&ARTICLE.replace("192.168.10.127", "localhost"), "1");
    assert!(warnings[0].starts_with("zoo.cfg:8: server.2: `localhost` is this machine only"), "{warnings:?}");
}

#[test]
fn myid_is_checked_against_the_members() {
    let missing = finish(ARTICLE, MyId::Missing).unwrap_err().to_string();
    assert_eq!(
        missing,
        "/data/server/zk1/data/myid: is missing; write this server's id there, one of 1, 2, 3: \
         echo 1 > /data/server/zk1/data/myid"
    );
    assert!(bad(ARTICLE, "zk1")[0].contains("`zk1` is no id"));
    assert!(bad(ARTICLE, "")[0].contains("`` is no id"));
    assert!(bad(ARTICLE, "4")[0].contains("id 4 is not among the members 1, 2, 3 of zoo.cfg"));
    assert_eq!(good(ARTICLE, " 3 \nrest").0.my_sid, Some(Sid(3)));
}

#[test]
fn several_errors_come_at_once() {
    let text = "tickTime=2s\nclientPort=70000\nsyncEnabled=yes\nserver.x=h:1:2\nserver.2=h:1\n";
    let errors = bad(text, "1");
    for part in ["tickTime", "clientPort", "syncEnabled", "server.x", "server.2", "dataDir"] {
        assert!(errors.iter().any(|e| e.contains(part)), "{part} in {errors:#?}");
    }
    assert!(
        errors.iter().any(|e| e.contains("zoo.cfg:5: server.2: `h:1` has no election port")),
        "{errors:#?}"
    );
}

#[test]
fn unknown_keys_warn_and_never_fail() {
    let text = format!("{ARTICLE}cleintPort=2181\nsome.thing=1\nadmin.enableServer=false\nzkctl.future=1\n");
    let (config, warnings) = good(&text, "1");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(warnings[0], "zoo.cfg:10: cleintPort: unknown key, ignored; did you mean clientPort?");
    assert_eq!(config.properties["some.thing"], "1");
    assert_eq!(config.zkctl.raw["zkctl.future"], "1");
}

#[test]
fn the_marks_of_a_full_disk_are_megabytes_or_by_what_is_written() {
    let marks = |lines: &str| {
        let (config, warnings) = good(&format!("{ARTICLE}{lines}"), "1");
        assert!(warnings.is_empty(), "{warnings:?}");
        (config.zkctl.disk_soft_mb, config.zkctl.disk_hard_mb)
    };
    assert_eq!(marks(""), (None, None));
    assert_eq!(marks("zkctl.disk.softMb=500\nzkctl.disk.hardMb=0\n"), (Some(500), Some(0)));
    let errors = bad(&format!("{ARTICLE}zkctl.disk.hardMb=-1\n"), "1");
    assert!(errors[0].contains("zkctl.disk.hardMb"), "{errors:?}");
}

#[test]
fn an_ensemble_needs_its_limits_and_session_bounds_must_fit() {
    let errors = bad(&ARTICLE.replace("initLimit=10\n", ""), "1");
    assert!(errors[0].contains("initLimit: is not set"), "{errors:?}");
    let errors = bad(&format!("{ARTICLE}minSessionTimeout=50000\n"), "1");
    assert!(errors[0].contains("zoo.cfg:10: minSessionTimeout: is 50000 ms, more than"), "{errors:?}");
    let (config, _) = good(&format!("{ARTICLE}maxSessionTimeout=-1\nminSessionTimeout=1\n"), "1");
    assert_eq!((config.min_session_ms, config.max_session_ms), (1, 40_000));
}

#[test]
fn tuning_keys_are_taken_from_the_file_and_from_properties() {
    let text = format!(
        "{ARTICLE}snapCount=500\npreAllocSize=1024\ncommitLogCount=3\nforceSync=no\nleaderServes=no\n\
         jute.maxbuffer=2097152\nglobalOutstandingLimit=10\nskipACL=yes\nautopurge.snapRetainCount=1\n\
         autopurge.purgeInterval=24\nmaxClientCnxns=0\nclientPortAddress=0.0.0.0\nquorumListenOnAllIPs=TRUE\n"
    );
    let (c, warnings) = good(&text, "1");
    assert_eq!((c.snap_count, c.prealloc_bytes, c.commit_log_count), (500, 1 << 20, 500));
    assert_eq!((c.force_sync, c.leader_serves, c.skip_acl), (false, false, true));
    assert_eq!((c.jute_max_buffer, c.jute_extra, c.global_outstanding), (2_097_152, 2_097_152, 10));
    assert_eq!((c.autopurge.retain, c.autopurge.interval_ms), (3, 86_400_000));
    assert_eq!((c.max_client_cnxns, c.client.unwrap().address), (0, None));
    assert!(c.quorum_listen_on_all_ips);
    assert_eq!(warnings.len(), 3, "{warnings:?}");

    let defines = [("zookeeper.snapCount", "7"), ("jute.maxbuffer", "4096"), ("zookeeper.tickTime", "5")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
    let (c, warnings) = Draft::read("zoo.cfg", ARTICLE, &defines).finish(MyId::Text("1"), None).unwrap();
    assert_eq!((c.snap_count, c.jute_max_buffer, c.tick_ms), (7, 4096, 2000));
    assert!(warnings[0].to_string().contains("is read from zoo.cfg only"), "{warnings:?}");
}

#[test]
fn properties_are_read_as_java_decodes_them_and_switches_as_the_original_means_them() {
    let text = format!("{ARTICLE}jute.maxbuffer=0x9fffff\nsnapCount=#10\nleaderServes=maybe\ntickTime=010\n");
    let (c, _) = good(&text, "1");
    assert_eq!((c.jute_max_buffer, c.snap_count, c.leader_serves, c.tick_ms), (0x9f_ffff, 16, true, 10));
    let (c, _) = good(&format!("{ARTICLE}DigestAuthenticationProvider.enabled=false\n"), "1");
    assert!(!c.digest_auth);
    let (_, warnings) = good(&format!("{ARTICLE}digest.enabled=false\n"), "1");
    assert!(warnings[0].contains("always computed"), "{warnings:?}");
    let errors = bad(&format!("{ARTICLE}DigestAuthenticationProvider.digestAlg=SHA-256\n"), "1");
    assert!(errors[0].contains("would shut its owner out"), "{errors:?}");
    let errors = bad(&format!("{ARTICLE}extendedTypesEnabled=true\nserver.255=h:1:2\n"), "255");
    assert!(errors.iter().any(|e| e.contains("above 254")), "{errors:?}");
}

#[test]
fn a_file_in_another_encoding_is_read() {
    let text = text_of(b"# gr\xf6\xdfe\ntickTime=7\n".to_vec());
    assert_eq!(text, "# größe\ntickTime=7\n");
    assert_eq!(text_of("# größe".into()), "# größe");
}

#[test]
fn the_client_address_of_the_server_line_wins_and_must_not_contradict() {
    let text = "dataDir=/d\ninitLimit=1\nsyncLimit=1\nserver.1=h:1:2;2181\nserver.2=i:1:2;10.0.0.2:2181\n\
        server.3=j:1:2;[::1]:2182\n";
    assert_eq!(good(text, "1").0.client, Some(ClientAddress { address: None, port: 2181 }));
    let client = good(text, "3").0.client.unwrap();
    assert_eq!((client.address.as_deref(), client.port), (Some("::1"), 2182));
    let errors = bad(&format!("{text}clientPort=2199\n"), "2");
    assert!(errors[0].contains("`*:2199` here, but server.2 says `10.0.0.2:2181`"), "{errors:?}");
    let none = bad(&text.replace(";2181", ""), "1");
    assert!(none[0].contains("clientPort: is not set"), "{none:?}");
}

#[test]
fn a_dynamic_file_is_read_and_only_it_names_members() {
    let text = "dataDir=/d\ninitLimit=1\nsyncLimit=1\ndynamicConfigFile=/c/zoo.cfg.dynamic.10000000a\n";
    let dynamic = |text: &'static str| Some(DynamicFile { file: "/c/zoo.cfg.dynamic.10000000a", text });
    let list = "server.1=h:1:2;2181\nserver.2=i:1:2:participant;2181\nserver.3=j:1:2:observer;2181\n";
    let draft = Draft::read("zoo.cfg", text, &[]);
    assert_eq!(draft.dynamic_config_file(), Some("/c/zoo.cfg.dynamic.10000000a"));
    let (config, _) = draft.clone().finish(MyId::Text("3"), dynamic(list)).unwrap();
    assert_eq!((config.members.version, config.role), (0x1_0000_000a, Role::Observer));
    let error = |d: Draft, file| d.finish(MyId::Text("1"), file).unwrap_err().to_string();
    assert!(error(draft.clone(), None).contains("could not be read"));
    let wrong = dynamic("server.1=h:1:2;2181\nclientPort=1\nversion=5\n");
    let found = error(draft, wrong);
    assert!(found.contains(":2: clientPort: only server.N lines"), "{found}");
    assert!(found.contains(":3: version: a dynamic file must not"), "{found}");
    let both = Draft::read("zoo.cfg", &format!("{text}server.4=k:1:2\n"), &[]);
    assert!(error(both, dynamic(list)).contains("zoo.cfg:5: server.4: must be in the dynamic file"));
}

#[test]
fn what_is_not_supported_is_refused_with_a_way_out() {
    for (line, part) in [
        ("group.1=1:2:3", "hierarchical quorums"),
        ("weight.1=2", "hierarchical quorums"),
        ("sslQuorum=true", "TLS between servers"),
        ("quorum.auth.enableSasl=true", "SASL"),
        ("electionAlg=1", "election algorithm 3"),
        ("oraclePath=/x", "oracle"),
        ("peerType=arbiter", "write participant or observer"),
        ("server.4=a:1:2|b:1:2", "multiAddress.enabled"),
        ("server.4=::1:2182:2183", "stands in brackets"),
        ("server.4=[::1:2182:2183", "never closes"),
        ("server.4=a:1:2:voter", "`voter` is no role"),
        ("server.4=a:1:70000", "no election port"),
        ("server.4=a:1:2;b:c:3", "not [address:]clientPort"),
        ("a=\\u12", "no \\u escape"),
    ] {
        let errors = bad(&format!("{ARTICLE}{line}\n"), "1");
        assert!(errors.iter().any(|e| e.contains(part) && e.contains("zoo.cfg:10: ")), "{line}: {errors:?}");
    }
}

/// Printed by `QuorumMaj.toString()` of 3.9.3 for these lines.
#[test]
fn the_dynamic_text_is_the_original_s() {
    let cases = [
        (
            "server.1=192.168.10.126:2182:2183\nserver.2=192.168.10.127:2182:2183\n\
             server.3=192.168.10.128:2182:2183:observer",
            "server.1=192.168.10.126:2182:2183:participant\nserver.2=192.168.10.127:2182:2183:participant\n\
             server.3=192.168.10.128:2182:2183:observer\nversion=0",
        ),
        (
            "server.20=a.example:1:2;2181\nserver.3=127.0.0.1:1:2:participant;127.0.0.1:2181\n\
             server.16=[::1]:1:2:OBSERVER;[::1]:2181\nserver.1=h:5:6;2281\nversion=10000000a",
            "server.16=[0:0:0:0:0:0:0:1]:1:2:observer;[0:0:0:0:0:0:0:1]:2181\nserver.1=h:5:6:participant;0.0.0.0:2281\n\
             server.3=127.0.0.1:1:2:participant;127.0.0.1:2181\nserver.20=a.example:1:2:participant;0.0.0.0:2181\n\
             version=10000000a",
        ),
        (
            "server.4=10.0.0.2:1:2|10.0.0.1:3:4:observer\nserver.300=[::ffff:1.2.3.4]:5:6\n\
             server.45=[fe80::1]:5:6\nserver.17=zz:1:2",
            "server.17=zz:1:2:participant\nserver.4=10.0.0.1:3:4|10.0.0.2:1:2:observer\n\
             server.300=1.2.3.4:5:6:participant\nserver.45=[fe80:0:0:0:0:0:0:1]:5:6:participant\nversion=0",
        ),
    ];
    for (text, golden) in cases {
        let list = MemberList::from_dynamic_text("f", text).unwrap();
        assert_eq!(list.to_dynamic_text(), golden);
        assert_eq!(MemberList::from_dynamic_text("f", golden).unwrap().to_dynamic_text(), golden);
    }
}

#[test]
fn many_members_come_in_the_original_s_order() {
    let text: String = (1..=13).map(|i| format!("server.{}=h:1:2\n", i * 5)).collect();
    let list = MemberList::from_dynamic_text("f", &text).unwrap().to_dynamic_text();
    let ids: Vec<&str> = list.lines().filter_map(|l| l.strip_prefix("server.")?.split('=').next()).collect();
    assert_eq!(ids.join(" "), "65 35 5 40 10 45 15 50 20 55 25 60 30");
}

fn input(file: &str, text: String, id: &str) -> LintInput {
    LintInput { file: file.into(), text, my_id: Some(id.into()), dynamic: None }
}

#[test]
fn files_of_one_ensemble_are_compared() {
    let at = |n: &str| ARTICLE.replace("/zk1/", &format!("/zk{n}/"));
    let clean =
        lint(&[input("1.cfg", at("1"), "1"), input("2.cfg", at("2"), "2"), input("3.cfg", at("3"), "3")]);
    assert!(clean.errors.is_empty() && clean.warnings.is_empty(), "{clean:?}");

    let second = at("2").replace("127:2182", "127:2282").replace("syncLimit=5", "syncLimit=2");
    let third = at("3").replace("server.1=192.168.10.126:2182:2183\n", "");
    let report =
        lint(&[input("1.cfg", at("1"), "1"), input("2.cfg", second, "2"), input("3.cfg", third, "2")]);
    let errors: Vec<String> = report.errors.iter().map(Problem::to_string).collect();
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("2.cfg: server.2: is `192.168.10.127:2282:2183:participant` here"))
    );
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("3.cfg: server.1: is not listed here, but in 1.cfg; add server.1="))
    );
    assert!(errors.iter().any(|e| e.contains("id 2 is also the id of 2.cfg")), "{errors:#?}");
    assert!(report.warnings.iter().any(|w| w.to_string().starts_with("2.cfg: syncLimit: is 2 here, but 5")));
}

#[test]
fn servers_on_one_host_must_not_share_a_client_port_or_a_directory() {
    let text = "dataDir=/d\nclientPort=2181\ninitLimit=1\nsyncLimit=1\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.1:3:4\n\
        server.3=127.0.0.1:5:6\n";
    let report = lint(&[input("1.cfg", text.into(), "1"), input("2.cfg", text.into(), "2")]);
    let errors: Vec<String> = report.errors.iter().map(Problem::to_string).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("clientPort") && errors[1].contains("dataDir"), "{errors:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(server\\.[0-9n]{1,2}[=:][a-z0-9:;|\\[\\].]{0,20}\n|[a-zA-Z.]{1,12}[= :][ -~]{0,12}\n){0,8}",
                      id in "[0-9 a]{0,3}") {
        let _ = finish(&text, MyId::Text(&id));
    }

    #[test]
    fn member_lists_survive(hosts in proptest::collection::vec("[a-z][a-z0-9.]{0,8}", 1..20), observer in 0usize..20) {
        let text: String = hosts.iter().enumerate().map(|(i, host)| {
            let role = if i == observer { ":observer" } else { "" };
            format!("server.{}={host}:1:2{role};2181\n", i + 1)
        }).collect();
        let list = MemberList::from_dynamic_text("f", &text).unwrap();
        let again = MemberList::from_dynamic_text("f", &list.to_dynamic_text()).unwrap();
        proptest::prop_assert_eq!(list, again);
    }
}
