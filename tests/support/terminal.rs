//! A pseudo terminal: a program has one side of it, and a test the other, which is what a person sees and types.

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

/// Both sides of a pseudo terminal.
pub struct PseudoTerminal {
    /// The person's side: what is written here are keys.
    pub keys: File,
    /// The side of the terminal that programs have.
    side: File,
    said: Arc<Mutex<Vec<u8>>>,
}

impl PseudoTerminal {
    /// One of so many columns and rows.
    pub fn open(size: (u16, u16)) -> PseudoTerminal {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).expect("ours");
        unlockpt(&ours).expect("ours");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let side = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("the other side");
        resize(&ours, size);
        let keys = File::from(ours);
        let mut screen = keys.try_clone().expect("a descriptor");
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        PseudoTerminal { keys, side: File::from(side), said }
    }

    /// The program's side, for one of its standard streams.
    pub fn side(&self) -> File {
        self.side.try_clone().expect("a descriptor")
    }

    /// What has been written to it so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Whether keys come one by one, without an echo.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.side).expect("its settings").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Whether the other screen has been left, and the cursor is shown: each is the last that was said of it.
    pub fn is_given_back(&self) -> bool {
        let said = self.said();
        let is_last =
            |last: &str, first: &str| said.rfind(first).is_some() && said.rfind(last) > said.rfind(first);
        is_last("\u{1b}[?1049l", "\u{1b}[?1049h") && is_last("\u{1b}[?25h", "\u{1b}[?25l")
    }
}

/// Gives a terminal so many columns and rows.
pub fn resize(terminal: impl AsFd, (columns, rows): (u16, u16)) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a size");
}
