// A registry with the referrers API: the one of go-containerregistry, in memory. `crane registry serve` is the same
// registry, but leaves that API off. Prints its port; ends with its standard input.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	go func() {
		log.Fatal(http.Serve(listener, registry.New(registry.WithReferrersSupport(true), quiet)))
	}()
	io.Copy(io.Discard, os.Stdin)
}
