//! Applies a fault to a forwarded request and its answer.

use super::*;

type Request<'a> = (&'a str, &'a str, Headers, usize);

/// Waits until the other side has closed its end, for a minute at most.
pub(super) fn until_gone(client: &mut TcpStream) {
    let _ = client.set_read_timeout(Some(Duration::from_secs(60)));
    while let Ok(1..) = client.read(&mut [0; 4096]) {}
}

/// Closes with RST.
pub(super) fn reset(client: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO))?;
    Ok(())
}

/// Returns true if the connection can continue.
pub(super) fn forward(
    fault: &Fault,
    (method, first, headers, length): Request<'_>,
    reader: &mut BufReader<TcpStream>,
    client: &mut TcpStream,
    kept: &mut Option<BufReader<TcpStream>>,
    port: u16,
) -> io::Result<bool> {
    let mut answer = match kept.take() {
        Some(upstream) => upstream,
        None => BufReader::new(TcpStream::connect(("127.0.0.1", port))?),
    };
    let upstream = answer.get_mut();
    // HTTP/1.0 has no chunks: an answer has a length, or ends with its connection.
    let mut out = format!("{}\r\n", first.replace("HTTP/1.1", "HTTP/1.0"));
    for (name, value) in &headers {
        let skip = matches!(fault, Fault::IgnoreRange | Fault::Part(..)) && name.eq_ignore_ascii_case("range");
        if !skip && !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case("expect") {
            out += &format!("{name}: {value}\r\n");
        }
    }
    let spoils = matches!(fault, Fault::CutRequest(_) | Fault::LoseAnswer);
    out += if spoils { "Connection: close\r\n\r\n" } else { "Connection: keep-alive\r\n\r\n" };
    upstream.write_all(out.as_bytes())?;
    if value(&headers, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    match fault {
        Fault::CutRequest(limit) => {
            io::copy(&mut reader.take((*limit).min(length) as u64), upstream)?;
            upstream.shutdown(Shutdown::Write)?;
            // Let the registry notice, and answer into the void.
            upstream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let _ = io::copy(upstream, &mut io::sink());
            return Ok(false);
        }
        Fault::SlowTake(bytes, pause) => {
            let mut rest = reader.take(length as u64);
            while io::copy(&mut (&mut rest).take(*bytes as u64), upstream)? > 0 {
                std::thread::sleep(Duration::from_millis(*pause));
            }
        }
        _ => {
            io::copy(&mut reader.take(length as u64), upstream)?;
        }
    }

    let Some((first, mut headers)) = head(&mut answer)? else { return Ok(false) };
    let first = first.replace("HTTP/1.0", "HTTP/1.1");
    let stays = value(&headers, "connection").is_some_and(|c| c.eq_ignore_ascii_case("keep-alive"));
    if let Fault::LoseAnswer = fault {
        return Ok(false);
    }
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("connection"));
    let length: Option<u64> = value(&headers, "content-length").and_then(|v| v.parse().ok());
    let empty = method == "HEAD" || first.contains(" 204 ") || first.contains(" 304 ");
    let mut body = (&mut answer).take(if empty { 0 } else { length.unwrap_or(u64::MAX) });
    if let Fault::Before(bytes) = fault {
        client.write_all(bytes)?;
    }
    let first = edit(fault, first, &mut headers);
    let mut whole = None;
    if matches!(fault, Fault::Gzip | Fault::Part(..)) && !empty {
        whole = Some(rewritten(fault, &mut body, &mut headers)?);
    }
    let mut out = format!("{first}\r\n");
    for (name, value) in &headers {
        out += &format!("{name}: {value}\r\n");
    }
    out += "\r\n";
    if let Fault::CutHead(limit) = fault {
        client.write_all(&out.as_bytes()[..(*limit).min(out.len() - 1)])?;
        return Ok(false);
    }
    client.write_all(out.as_bytes())?;
    if let Some(whole) = whole {
        client.write_all(&whole)?;
        return Ok(true);
    }
    send(fault, &mut body, client, empty)?;
    if stays && body.limit() == 0 {
        *kept = Some(answer);
    }
    let closing = matches!(
        fault,
        Fault::LieLength(_)
            | Fault::Longer(_)
            | Fault::CutBody(_)
            | Fault::ResetBody(_)
            | Fault::Stall(_)
            | Fault::HangUp
            | Fault::Chunked(false)
    );
    if let Fault::NoHeader(name) | Fault::Header(name, _) | Fault::AlsoHeader(name, _) = fault
        && (name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding"))
    {
        return Ok(false);
    }
    Ok((empty || length.is_some()) && !closing)
}

/// Changes the head of an answer. Returns its first line.
fn edit(fault: &Fault, first: String, headers: &mut Headers) -> String {
    let drop = |headers: &mut Headers, name: &str| headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    let add = |headers: &mut Headers, name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    match fault {
        Fault::LieLength(lie) => {
            drop(headers, "content-length");
            add(headers, "Connection", "close");
            add(headers, "Content-Length", &lie.to_string());
        }
        Fault::Longer(_) | Fault::Endless => {
            drop(headers, "content-length");
            add(headers, "Connection", "close");
        }
        Fault::Header(name, value) => {
            drop(headers, name);
            add(headers, name, value);
        }
        Fault::NoHeader(name) => drop(headers, name),
        Fault::AlsoHeader(name, value) => add(headers, name, value),
        Fault::Chunked(_) => {
            drop(headers, "content-length");
            add(headers, "Transfer-Encoding", "chunked");
        }
        Fault::Status(code) => return format!("HTTP/1.1 {code} Scripted"),
        Fault::Part(..) => return "HTTP/1.1 206 Scripted".to_owned(),
        _ => {}
    }
    first
}

/// Another body, with the headers that belong to it.
fn rewritten(fault: &Fault, body: &mut impl Read, headers: &mut Headers) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    headers.retain(|(n, _)| !n.eq_ignore_ascii_case("content-length") && !n.eq_ignore_ascii_case("content-range"));
    let bytes = match fault {
        Fault::Part(range, says) => {
            headers.push(("Content-Range".to_owned(), says.clone()));
            bytes[range.start.min(bytes.len())..range.end.min(bytes.len())].to_vec()
        }
        _ => {
            headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&bytes)?;
            gzip.finish()?
        }
    };
    headers.push(("Content-Length".to_owned(), bytes.len().to_string()));
    Ok(bytes)
}

/// Passes a body on.
fn send(fault: &Fault, body: &mut impl Read, client: &mut TcpStream, empty: bool) -> io::Result<()> {
    match fault {
        Fault::CutBody(limit) => {
            io::copy(&mut body.take(*limit as u64), client)?;
        }
        Fault::ResetBody(limit) => {
            io::copy(&mut body.take(*limit as u64), client)?;
            reset(client)?;
        }
        Fault::Stall(limit) => {
            io::copy(&mut body.take(*limit as u64), client)?;
            until_gone(client);
        }
        Fault::FlipByte(at) => {
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes)?;
            if let Some(byte) = bytes.get_mut(*at) {
                *byte ^= 1;
            }
            client.write_all(&bytes)?;
        }
        Fault::Longer(more) if !empty => {
            io::copy(body, client)?;
            client.write_all(&vec![b'x'; *more])?;
        }
        Fault::Endless if !empty => {
            io::copy(body, client)?;
            loop {
                client.write_all(&[b'x'; 65536])?;
            }
        }
        Fault::Slow(pause) => {
            let mut byte = [0];
            while body.read(&mut byte)? > 0 {
                client.write_all(&byte)?;
                std::thread::sleep(Duration::from_millis(*pause));
            }
        }
        Fault::Chunked(ends) if !empty => {
            let mut buf = [0; 10_000];
            loop {
                let n = body.read(&mut buf)?;
                if n == 0 {
                    break;
                }
                client.write_all(format!("{n:x}\r\n").as_bytes())?;
                client.write_all(&buf[..n])?;
                client.write_all(b"\r\n")?;
            }
            if *ends {
                client.write_all(b"0\r\n\r\n")?;
            }
        }
        Fault::After(bytes) => {
            io::copy(body, client)?;
            client.write_all(bytes)?;
        }
        _ => {
            io::copy(body, client)?;
        }
    }
    Ok(())
}
