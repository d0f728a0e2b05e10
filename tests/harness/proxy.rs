//! A TCP proxy on loopback that can hold what flows, in one direction or both, and let it go.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Held or not, for all connections.
#[derive(Debug, Default)]
struct Gate {
    held: Mutex<bool>,
    changed: Condvar,
}

/// A proxy in front of one server. Its threads end with the connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    down: Arc<Gate>,
    up: Arc<Gate>,
    held_bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a port of its own, in front of `server`.
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Self {
            address: listener.local_addr().expect("an address"),
            down: Arc::default(),
            up: Arc::default(),
            held_bytes: Arc::default(),
            stop: Arc::default(),
        };
        let (down, held_bytes) = (Arc::clone(&proxy.down), Arc::clone(&proxy.held_bytes));
        let upwards = Arc::clone(&proxy.up);
        let stop = Arc::clone(&proxy.stop);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(upstream) = TcpStream::connect(server) else { continue };
                let up = (
                    client.try_clone().expect("a socket"),
                    upstream.try_clone().expect("a socket"),
                );
                let (gate, bytes) = (Arc::clone(&upwards), Arc::clone(&held_bytes));
                std::thread::spawn(move || pump(up.0, up.1, &gate, &bytes));
                let (gate, bytes) = (Arc::clone(&down), Arc::clone(&held_bytes));
                std::thread::spawn(move || pump(upstream, client, &gate, &bytes));
            }
        });
        proxy
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing goes from the server to the client.
    pub fn hold_down(&self) {
        *self.down.held.lock().expect("not poisoned") = true;
    }

    /// From now on nothing goes either way: a partition without a reset.
    pub fn partition(&self) {
        self.hold_down();
        *self.up.held.lock().expect("not poisoned") = true;
    }

    /// What was held goes on.
    pub fn release(&self) {
        for gate in [&self.down, &self.up] {
            *gate.held.lock().expect("not poisoned") = false;
            gate.changed.notify_all();
        }
    }

    /// Bytes that had to wait so far: proof that something was held.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.release();
        drop(TcpStream::connect(self.address));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, gate: &Gate, held_bytes: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let mut held = gate.held.lock().expect("not poisoned");
        if *held {
            held_bytes.fetch_add(length as u64, Ordering::SeqCst);
        }
        while *held {
            held = gate.changed.wait(held).expect("not poisoned");
        }
        drop(held);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other half of the connection may be gone already.
    drop(to.shutdown(std::net::Shutdown::Both));
    drop(from.shutdown(std::net::Shutdown::Both));
}
