#!/usr/bin/env python3
"""A line with latency and a limited rate, on loopback, for measurements.

usage: line.py LISTEN TARGET ONE_WAY_MS MEGABYTES_PER_SECOND

Accepts connections on port LISTEN and passes them on to port TARGET. Each direction delays everything by ONE_WAY_MS, and
all connections share its rate.
"""
import asyncio, sys


class Direction:
    """One direction of the line: when it is free again."""

    def __init__(self, rate, delay):
        self.rate, self.delay, self.free = rate, delay, 0.0

    def arrival(self, size, now):
        self.free = max(self.free, now) + size / self.rate
        return self.free + self.delay


async def carry(reader, writer, direction):
    clock = asyncio.get_running_loop().time
    # Enough for the line to be full, and no more.
    under_way = asyncio.Queue(32)

    async def deliver():
        while True:
            at, chunk = await under_way.get()
            await asyncio.sleep(max(0.0, at - clock()))
            if not chunk:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    task = asyncio.create_task(deliver())
    try:
        while chunk := await reader.read(1 << 18):
            await under_way.put((direction.arrival(len(chunk), clock()), chunk))
        await under_way.put((clock() + direction.delay, b""))
        await task
    except OSError:
        task.cancel()


async def main(listen, target, one_way, rate):
    there, back = Direction(rate, one_way), Direction(rate, one_way)

    async def accept(reader, writer):
        # What a handshake takes.
        await asyncio.sleep(2 * one_way)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        both = carry(reader, far_writer, there), carry(far_reader, writer, back)
        await asyncio.gather(*both, return_exceptions=True)
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


port, to, ms, megabytes = sys.argv[1:]
asyncio.run(main(int(port), int(to), float(ms) / 1000, float(megabytes) * 1e6))
