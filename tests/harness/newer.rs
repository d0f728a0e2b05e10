//! Peers of a newer version: they speak the protocol of this tree with one word more in every enum,
//! one kind more in every choice and one field more in every message.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::slice::from_mut;
use std::time::Duration;

use lubdub_shared::pb;
use prost::Message;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body, BoxFuture, StdError, http};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::impostor::{runtime, serve};

/// The word more.
const WORD: i32 = 99;
const METHOD: &str = "/lubdub.v1.SidecarService/Attach";
/// Longer than anything is silent.
const SOON: Duration = Duration::from_secs(40);

/// The newer protocol.
#[derive(Debug)]
pub struct NewerProtocol(DescriptorPool);

impl NewerProtocol {
    /// Made of the files of this tree.
    pub fn generate() -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/lubdub/v1");
        let copy = tempfile::tempdir().expect("a directory");
        let to = copy.path().join("lubdub/v1");
        fs::create_dir_all(&to).expect("a directory");
        let mut grown = 0;
        for entry in fs::read_dir(own).expect("there") {
            let from = entry.expect("there").path();
            let text = grow(&fs::read_to_string(&from).expect("text"));
            grown += text.matches("NEWER").count();
            fs::write(to.join(from.file_name().expect("a name")), text).expect("written");
        }
        assert!(grown > 15, "{grown} enums have a word more");
        let mut compiler = protox::Compiler::new([copy.path()]).expect("a compiler");
        compiler.include_imports(true).open_files(["lubdub/v1/session.proto"]).expect("it parses");
        Self(compiler.descriptor_pool())
    }

    /// A message of today's, as a newer peer says it: with the words more wherever `more` says so,
    /// and a field more everywhere.
    pub fn say(&self, name: &str, message: &impl Message, more: impl Fn(&str) -> bool) -> Vec<u8> {
        let descriptor = self.0.get_message_by_name(name).expect("a message of the protocol");
        let bytes = message.encode_to_vec();
        let mut message = DynamicMessage::decode(descriptor, &bytes[..]).expect("the same message");
        renew(&mut message, &more);
        message.encode_to_vec()
    }

    /// A message of a kind that only newer peers know.
    pub fn unknown(&self, name: &str) -> Vec<u8> {
        let descriptor = self.0.get_message_by_name(name).expect("a message of the protocol");
        let mut message = DynamicMessage::new(descriptor);
        message.set_field_by_name("newer_kind", Value::String("something".to_owned()));
        message.encode_to_vec()
    }

    /// An event of a kind that only newer sidecars know.
    pub fn unknown_event(&self, batch: &pb::EventBatch, at: usize) -> Vec<u8> {
        let descriptor = self.0.get_message_by_name("lubdub.v1.FromSidecar").expect("there");
        let bytes =
            pb::FromSidecar { message: Some(pb::from_sidecar::Message::Events(batch.clone())) }
                .encode_to_vec();
        let mut message = DynamicMessage::decode(descriptor, &bytes[..]).expect("the same");
        let mut batch = message.get_field_by_name("events").expect("a batch").into_owned();
        let batch = batch.as_message_mut().expect("a message");
        let mut events = batch.get_field_by_name("events").expect("events").into_owned();
        let event = &mut events.as_list_mut().expect("a list")[at];
        let event = event.as_message_mut().expect("an event");
        event.set_field_by_name("newer_kind", Value::String("something".to_owned()));
        batch.set_field_by_name("events", events);
        message.set_field_by_name("events", Value::Message(batch.clone()));
        message.encode_to_vec()
    }
}

/// Each enum, choice and message of a file with one more.
fn grow(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        writeln!(out, "{line}").expect("memory");
        let word = line.trim_start();
        if let Some(zero) = word.strip_suffix("_UNSPECIFIED = 0;") {
            writeln!(out, "{zero}_NEWER = {WORD};").expect("memory");
        } else if word.starts_with("oneof ") && word.ends_with('{') {
            writeln!(out, "string newer_kind = 900;").expect("memory");
        } else if line.starts_with("message ") && line.ends_with('{') {
            writeln!(out, "string newer_field = 901;").expect("memory");
        }
    }
    out
}

fn renew(message: &mut DynamicMessage, more: &impl Fn(&str) -> bool) {
    let ours = message.descriptor().full_name().starts_with("lubdub.");
    let fields: Vec<_> = message.fields().map(|(field, value)| (field, value.clone())).collect();
    for (field, mut value) in fields {
        let wanted = more(field.full_name());
        let of =
            if let Value::List(list) = &mut value { &mut list[..] } else { from_mut(&mut value) };
        for value in of {
            if let Value::Message(inner) = value {
                renew(inner, more);
            } else if let (Value::EnumNumber(number), true) = (value, wanted) {
                *number = WORD;
            }
        }
        message.set_field(&field, value);
    }
    if ours {
        message.set_field_by_name("newer_field", Value::String("more".to_owned()));
    }
}

/// Bytes as they are.
#[derive(Debug, Default, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length).to_vec()))
    }
}

/// A stream to a collector, of which this is the sidecar's end, or the reverse.
#[derive(Debug)]
pub struct RawStream {
    say: mpsc::Sender<Vec<u8>>,
    heard: std::sync::mpsc::Receiver<Vec<u8>>,
    _runtime: Option<tokio::runtime::Runtime>,
}

impl RawStream {
    /// Attaches to a collector.
    pub fn attach(collector: SocketAddr) -> Self {
        let runtime = runtime();
        let (say, outbound) = mpsc::channel::<Vec<u8>>(64);
        let (to_test, heard) = std::sync::mpsc::sync_channel(4096);
        runtime.spawn(async move {
            let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{collector}"));
            let channel = endpoint.expect("an address").connect().await.expect("a collector");
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.expect("ready");
            let method = http::uri::PathAndQuery::from_static(METHOD);
            let outbound = Request::new(ReceiverStream::new(outbound));
            let answer = client.streaming(outbound, method, Raw).await;
            pass(answer.expect("a stream").into_inner(), to_test).await;
        });
        Self { say, heard, _runtime: Some(runtime) }
    }

    /// Says something.
    pub fn say(&self, bytes: Vec<u8>) {
        self.say.blocking_send(bytes).expect("the stream stands");
    }

    /// What the other side says next, of what is asked for.
    #[track_caller]
    pub fn hear<M: Message + Default, T>(
        &self,
        what: &str,
        mut wanted: impl FnMut(M) -> Option<T>,
    ) -> T {
        loop {
            let bytes = self.heard.recv_timeout(SOON);
            let bytes = bytes.unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(found) = wanted(M::decode(&bytes[..]).expect("of today's protocol")) {
                return found;
            }
        }
    }
}

async fn pass(mut from: Streaming<Vec<u8>>, to: std::sync::mpsc::SyncSender<Vec<u8>>) {
    while let Some(Ok(bytes)) = from.next().await {
        if to.try_send(bytes).is_err() {
            return;
        }
    }
}

/// A newer collector: takes streams, and leaves it to the test what is said on them.
#[derive(Debug)]
pub struct RawCollector {
    address: SocketAddr,
    streams: std::sync::mpsc::Receiver<RawStream>,
    _runtime: tokio::runtime::Runtime,
}

impl RawCollector {
    /// Listens on a port of its own.
    pub fn new() -> Self {
        let (knocked, streams) = std::sync::mpsc::sync_channel(64);
        let (address, runtime) = serve(Server::builder().add_service(Door(knocked)));
        Self { address, streams, _runtime: runtime }
    }

    /// Where sidecars connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next stream of a sidecar.
    #[track_caller]
    pub fn stream(&self) -> RawStream {
        self.streams.recv_timeout(SOON).expect("a sidecar connects")
    }
}

impl Default for RawCollector {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Clone)]
struct Door(std::sync::mpsc::SyncSender<RawStream>);

impl tonic::server::NamedService for Door {
    const NAME: &'static str = "lubdub.v1.SidecarService";
}

type Answers = std::pin::Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

impl tonic::server::StreamingService<Vec<u8>> for Door {
    type Response = Vec<u8>;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let (say, answers) = mpsc::channel::<Vec<u8>>(64);
        let (to_test, heard) = std::sync::mpsc::sync_channel(4096);
        tokio::spawn(pass(request.into_inner(), to_test));
        self.0.try_send(RawStream { say, heard, _runtime: None }).expect("room for streams");
        let answers: Answers = Box::pin(ReceiverStream::new(answers).map(Ok));
        std::future::ready(Ok(Response::new(answers)))
    }
}

impl<B> tonic::codegen::Service<http::Request<B>> for Door
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).streaming(door, request).await) })
    }
}
