//! Three servers, each on a file system of its own.

use crate::ensemble::{Ensemble, three_servers};
use crate::images::Image;
use crate::power_switch::PowerSwitch;
use crate::server::Server;
use crate::state::until;
use std::cell::RefCell;
use std::fs::File;

/// Sparse: what is not used takes no room.
const IMAGE_BYTES: u64 = 256 << 20;

/// The servers and the file systems under them. Fields are dropped in this order, after the servers were
/// killed and the file systems unmounted.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) ensemble: Ensemble,
    images: Vec<Image>,
}

impl Rig {
    /// Starts three, with these lines in each zoo.cfg, and waits until all serve.
    #[track_caller]
    pub(crate) fn three(name: &str, lines: &str) -> Rig {
        let images = RefCell::new(Vec::new());
        let ensemble = Ensemble::start(name, |dir| {
            let make = |n: usize| {
                let (file, at) = (dir.join(format!("{n}.ext4")), dir.join(format!("{n}/data")));
                Image::fresh(file, at, IMAGE_BYTES)
            };
            images.replace((1..=3).map(make).collect());
            let servers = three_servers(dir, lines);
            servers.iter().for_each(settle_identity);
            servers
        });
        Rig { ensemble, images: images.into_inner() }
    }

    /// Makes everything as it was before the first start, and starts nothing.
    #[track_caller]
    pub(crate) fn begin_anew(&mut self) {
        self.ensemble.servers.iter_mut().for_each(Server::kill);
        for (index, image) in self.images.iter_mut().enumerate() {
            image.format(IMAGE_BYTES);
            let server = &self.ensemble.servers[index];
            server.identify(index + 1);
            settle_identity(server);
        }
    }

    /// The power goes: file systems first, so that the processes cannot even say goodbye.
    #[track_caller]
    pub(crate) fn cut(&mut self, switch: &mut PowerSwitch, victims: &[usize]) {
        let places: Vec<_> = victims.iter().map(|v| self.images[*v].at()).collect();
        switch.off(&places);
        victims.iter().for_each(|v| self.ensemble.servers[*v].kill());
        victims.iter().for_each(|v| self.images[*v].unmount());
    }

    /// The power is back.
    #[track_caller]
    pub(crate) fn restart(&mut self, victims: &[usize]) {
        for victim in victims {
            self.images[*victim].mount();
            self.ensemble.servers[*victim].start();
        }
    }

    /// Waits until all serve; a server that ends by itself has failed.
    #[track_caller]
    pub(crate) fn wait_serving(&mut self) {
        until("all serve again, unaided", || {
            for server in &mut self.ensemble.servers {
                if let Some(status) = server.ended() {
                    panic!("{} did not start: {status}\n{}", server.data().display(), server.said());
                }
            }
            self.ensemble.all_serve().then_some(())
        });
    }
}

/// Whoever installs a server does not lose its id to a power cut.
fn settle_identity(server: &Server) {
    for path in [server.data().join("myid"), server.data()] {
        File::open(path).unwrap().sync_all().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.ensemble.servers.iter_mut().for_each(Server::kill);
        // The ensemble can remove its directory only when nothing is mounted in it.
        self.images.clear();
    }
}
