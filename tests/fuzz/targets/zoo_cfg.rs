//! zoo.cfg and myid.

use super::{Target, draw};
use zkctl::config::{Draft, DynamicFile, MyId, my_id_from_text, text_of};
use zkctl::prng::Prng;

pub(crate) const TARGET: Target =
    Target { name: "zoo_cfg", run, sample, memory: (4096, 1 << 16), runs: 1500 };

pub(crate) fn run(data: &[u8]) {
    let text = text_of(data.to_vec());
    let _ = my_id_from_text(&text);
    let dynamic = DynamicFile { file: "zoo.cfg.dynamic.100000003", text: &text };
    for my_id in [MyId::Missing, MyId::Text("1\n"), MyId::Unchecked] {
        let draft = Draft::read("zoo.cfg", &text, &[("zookeeper.snapCount".into(), "7".into())]);
        let _ = (draft.data_dir(), draft.dynamic_config_file());
        let with = draft.dynamic_config_file().map(|_| dynamic);
        match draft.clone().finish(my_id, with) {
            Ok((config, _)) => {
                assert!(config.tick_ms > 0);
                let _ = (config.is_standalone(), config.me());
            }
            Err(errors) => assert!(!errors.to_string().is_empty()),
        }
    }
}

const LINES: [&str; 24] = [
    "tickTime=2000",
    "dataDir=/data/zk",
    "dataLogDir=/data/log",
    "clientPort=2181",
    "clientPortAddress=::1",
    "initLimit=10",
    "syncLimit=5",
    "server.1=zk1:2888:3888",
    "server.2=zk2:2888:3888:participant;2181",
    "server.3=[::1]:2888:3888:observer;0.0.0.0:2181",
    "server.4=a:1:2|b:3:4",
    "standaloneEnabled=false",
    "peerType=observer",
    "dynamicConfigFile=/data/zoo.cfg.dynamic.100000003",
    "4lw.commands.whitelist=*",
    "autopurge.snapRetainCount=3",
    "autopurge.purgeInterval=24",
    "maxClientCnxns=0",
    "minSessionTimeout=-1",
    "maxSessionTimeout=99999999999",
    "zkctl.session.keyFile=/k",
    "group.1=1:2",
    "#comment",
    "key : value \\\n  goes on\\u0041",
];

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = String::new();
    for line in LINES.iter().take(7) {
        out.push_str(line);
        out.push('\n');
    }
    for _ in 0..prng.below(8) {
        out.push_str(draw::of(prng, &LINES));
        out.push_str(draw::of(prng, &["\n", "\r\n", "\n\n"]));
    }
    out.into_bytes()
}
