//! Connections that end as TLS must not end.

use std::fs;

use crate::place::Place;
use crate::support::proxy::{Fault, Proxy, status_with};
use crate::support::registry::self_signed;
use crate::support::tls::{Cut, Front};

/// H6, H1: a connection that is closed without TLS saying so was cut: nothing of what it brought is taken for whole,
/// also where HTTP would let the end of the connection be the end of the answer.
#[test]
fn a_connection_cut_below_tls_is_never_taken_for_an_end() {
    let place = Place::new();
    let (certificate, key) = self_signed(place.dir.path(), "IP:127.0.0.1");
    let proxy = Proxy::start(Some(place.open.port));
    let front = Front::start(proxy.port, &certificate, &key);
    let create = |bundle: &str| {
        let images = [format!("{}/src/app:v1", front.host()), format!("{}/src/other:v1", front.host())];
        let run =
            crate::run::Run::new(place.dir.path(), "create").args(&[bundle, "--sign-key", "key", "--name", "lab"]);
        let run = run.args(&["--sequence", "1", "--image", &images[0], "--image", &images[1], "-o", "json", "-j", "2"]);
        run.args(&["--ca-file", certificate.to_str().unwrap(), "--authfile", "/dev/null", "--retries", "3"]).go()
    };
    let whole = create("whole.tar");
    assert_eq!(whole.code, 0, "{}", whole.err);
    let whole = fs::read(place.path("whole.tar")).unwrap();

    let cuts = [Cut::AtOnce, Cut::Garbage, Cut::After(0), Cut::After(150), Cut::After(700), Cut::After(300_000)];
    for ends_with_the_connection in [false, true] {
        proxy.otherwise(match ends_with_the_connection {
            true => Fault::NoHeader("Content-Length".to_owned()),
            false => Fault::Pass,
        });
        for cut in cuts {
            front.next(&[cut, Cut::Never, cut]);
            let ran = create("t.tar");
            if cut == Cut::Garbage {
                // It does not speak TLS: that is for good.
                assert_eq!(ran.code, 50, "{ran:?}");
                ran.explains_itself(&[front.host()]);
                front.next(&[]);
                assert_eq!(create("t.tar").code, 0);
            } else {
                assert_eq!(ran.code, 0, "{cut:?} {ran:?}");
            }
            assert!(fs::read(place.path("t.tar")).unwrap() == whole, "{cut:?}");
            fs::remove_file(place.path("t.tar")).unwrap();
        }
    }

    // From there to plain HTTP: not followed.
    proxy.otherwise(Fault::Pass);
    let plain = Proxy::start(Some(place.open.port));
    for place in [plain.host(), proxy.host()] {
        let location = format!("http://{place}/v2/src/app/blobs/x");
        proxy.on("GET", "blobs/", 1, status_with(307, "Location", location));
        let ran = create("c.tar");
        assert_eq!(ran.code, 50, "{ran:?}");
        ran.explains_itself(&[front.host()]);
        assert!(ran.err.contains("is not followed"), "{ran:?}");
    }
    assert!(plain.seen().is_empty());
}
