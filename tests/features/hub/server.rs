//! A loopback server that implements the part of the hub's protocol that downloads need.
//!
//! `/{repository}/resolve/{revision}/{file}` returns the commit and redirects to a URL that returns the file's
//! content and supports range requests. JSON files are sent without a redirect. `/api/models/…` lists the files.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub const REPOSITORY: &str = "owner/name";

/// A fault in the server's responses to requests for files. `Cut` and `CutSilently` close the connection after the
/// given number of bytes.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The `Content-Length` header announces the full length.
    Cut(usize),
    /// There is no `Content-Length`: the end of the connection is the end of the file.
    CutSilently(usize),
    /// The redirect has no `Location` header.
    NoLocation,
}

/// A request that the server received.
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

struct Shared {
    address: String,
    /// The files and their contents, by commit.
    commits: BTreeMap<&'static str, BTreeMap<&'static str, Vec<u8>>>,
    branches: HashMap<&'static str, &'static str>,
    token: Option<&'static str>,
    fault: Mutex<Fault>,
    requests: Mutex<Vec<Request>>,
    stop: AtomicBool,
}

pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `files` on the branch `main`.
    pub fn new<const N: usize>(files: [(&'static str, Vec<u8>); N]) -> Self {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        Self::with_revisions(&[("main", commit)], [(commit, files.into())].into(), None)
    }

    pub fn with_revisions(
        branches: &[(&'static str, &'static str)],
        commits: BTreeMap<&'static str, BTreeMap<&'static str, Vec<u8>>>,
        token: Option<&'static str>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port should be available");
        let address =
            format!("http://{}", listener.local_addr().expect("the listener should have an address"));
        let shared = Arc::new(Shared {
            address,
            commits,
            branches: branches.iter().copied().collect(),
            token,
            fault: Mutex::new(Fault::None),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let thread_shared = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if thread_shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                // A client may disconnect at any time.
                let _ = stream.and_then(|stream| thread_shared.respond_to(stream));
            }
        });
        Self { shared, thread: Some(thread) }
    }

    pub fn address(&self) -> &str {
        &self.shared.address
    }

    pub fn set_fault(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Removes and returns the requests since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let address = self.shared.address.trim_start_matches("http://");
        drop(TcpStream::connect(address)); // Wakes the thread that waits in `incoming`.
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    fn respond_to(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = HashMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let request = Request { path, headers };
        let result = self.route(&request, &mut stream);
        self.requests.lock().unwrap().push(request);
        stream.shutdown(Shutdown::Both)?;
        result
    }

    fn route(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let token = self.token.map(|token| format!("Bearer {token}"));
        if token.is_some() && token.as_ref() != request.headers.get("authorization") {
            let status = if request.headers.contains_key("authorization") {
                "403 Forbidden"
            } else {
                "401 Unauthorized"
            };
            return respond(stream, status, &[], b"");
        }
        let resolve = format!("/{REPOSITORY}/resolve/");
        let list = format!("/api/models/{REPOSITORY}/revision/");
        let found = if let Some(rest) = request.path.strip_prefix(&resolve) {
            rest.split_once('/').and_then(|(revision, file)| {
                let (commit, files) = self.commit(revision)?;
                files.get_key_value(file).map(|(file, content)| (commit, *file, content))
            })
        } else if let Some(revision) = request.path.strip_prefix(&list) {
            if let Some((commit, files)) = self.commit(revision) {
                let files: Vec<_> = files.keys().map(|file| format!(r#"{{"rfilename":"{file}"}}"#)).collect();
                let body = format!(r#"{{"sha":"{commit}","siblings":[{}]}}"#, files.join(","));
                return respond(stream, "200 OK", &[("Content-Type", "application/json")], body.as_bytes());
            }
            None
        } else if let Some(rest) = request.path.strip_prefix("/bytes/") {
            let content = rest.split_once('/').and_then(|(commit, file)| self.commits.get(commit)?.get(file));
            return match content {
                Some(content) => self.send_range(request, content, &[], stream),
                None => respond(stream, "404 Not Found", &[], b""),
            };
        } else {
            None
        };
        match found {
            None => respond(stream, "404 Not Found", &[], b""),
            // The hub sends small files directly and redirects for large files. This server regards JSON files as
            // small.
            Some((commit, file, content)) if file.ends_with(".json") => {
                let etag = format!("\"{}\"", etag(content));
                self.send_range(request, content, &[("ETag", &etag), ("X-Repo-Commit", commit)], stream)
            }
            Some((commit, file, content)) => {
                let location = format!("{}/bytes/{commit}/{file}", self.address);
                let etag = format!("\"{}\"", etag(content));
                let mut headers =
                    vec![("X-Linked-Etag", &*etag), ("ETag", "\"other\""), ("X-Repo-Commit", commit)];
                if *self.fault.lock().unwrap() != Fault::NoLocation {
                    headers.push(("Location", &location));
                }
                respond(stream, "302 Found", &headers, b"")
            }
        }
    }

    fn commit(&self, revision: &str) -> Option<(&'static str, &BTreeMap<&'static str, Vec<u8>>)> {
        let revision = revision.replace("%2F", "/");
        let commit = self.branches.get(&*revision).copied().unwrap_or(&revision);
        self.commits.get_key_value(commit).map(|(commit, files)| (*commit, files))
    }

    /// Sends the requested range of `content`.
    fn send_range(
        &self,
        request: &Request,
        content: &[u8],
        headers: &[(&str, &str)],
        stream: &mut TcpStream,
    ) -> std::io::Result<()> {
        let range =
            request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let (begin, end) = range.unwrap_or(("0", ""));
        let begin: usize = begin.parse().unwrap();
        let end = end.parse().map_or(content.len(), |last: usize| content.len().min(last + 1));
        if begin >= content.len() {
            return respond(stream, "416 Range Not Satisfiable", &[], b"");
        }
        let content_range = format!("bytes {begin}-{}/{}", end - 1, content.len());
        let headers = [headers, &[("Content-Range", &*content_range), ("Accept-Ranges", "bytes")]].concat();
        let body = &content[begin..end];
        // The client first requests one byte, to get the length of the file. This request succeeds even if a fault is
        // set.
        let is_probe = body.len() == 1;
        match *self.fault.lock().unwrap() {
            Fault::Cut(length) if !is_probe => {
                head(stream, "206 Partial Content", &headers, Some(body.len()))?;
                stream.write_all(&body[..length])
            }
            Fault::CutSilently(length) if !is_probe => {
                head(stream, "206 Partial Content", &headers, None)?;
                stream.write_all(&body[..length])
            }
            _ => respond(stream, "206 Partial Content", &headers, body),
        }
    }
}

fn respond(
    stream: &mut TcpStream,
    status: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    head(stream, status, headers, Some(body.len()))?;
    stream.write_all(body)
}

/// Writes the status line and the headers of a response.
fn head(
    stream: &mut TcpStream,
    status: &str,
    headers: &[(&str, &str)],
    length: Option<usize>,
) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    if let Some(length) = length {
        write!(stream, "Content-Length: {length}\r\n")?;
    }
    write!(stream, "\r\n")
}

/// Returns a hash of the content.
fn etag(content: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
