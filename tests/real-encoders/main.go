// Real gzip encoders, for comparison. Each request on standard input: what u8 (0 Go, 1 klauspost, 2 pgzip, 3 pgzip with
// blocks of 256 KiB), level i8, size of writes u32 (0: one write), length u32, data. Each answer: length u32, data.
package main

import (
	"bufio"
	"bytes"
	std "compress/gzip"
	"encoding/binary"
	"io"
	"os"

	kp "github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"
)

func encode(what byte, level int, piece int, data []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch what {
	case 0:
		w, _ = std.NewWriterLevel(&out, level)
	case 1:
		w, _ = kp.NewWriterLevel(&out, level)
	default:
		z, _ := pgzip.NewWriterLevel(&out, level)
		if what == 3 {
			z.SetConcurrency(256<<10, 4)
		}
		w = z
	}
	if piece == 0 {
		piece = len(data) + 1
	}
	for len(data) > piece {
		w.Write(data[:piece])
		data = data[piece:]
	}
	w.Write(data)
	w.Close()
	return out.Bytes()
}

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	var head [10]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		data := make([]byte, binary.LittleEndian.Uint32(head[6:]))
		if _, err := io.ReadFull(in, data); err != nil {
			return
		}
		made := encode(head[0], int(int8(head[1])), int(binary.LittleEndian.Uint32(head[2:])), data)
		binary.Write(out, binary.LittleEndian, uint32(len(made)))
		out.Write(made)
		out.Flush()
	}
}
