"""The connections that are kept to an instance, on real sockets."""

import asyncio

import pytest
from control_fixtures import no_files

from ollama_fleet.errors import OutOfSockets
from ollama_fleet.router.relay.pool import Pool


async def until(check):
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


def test_requests_that_need_a_new_connection_leave_no_more_of_them_than_ran_at_one_time():
    """As removals and copies of models do, one after another."""

    async def run():
        opened, ended = [], []

        async def serve(reader, writer):
            opened.append(writer)
            await reader.read()
            ended.append(writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            pool = Pool(f"http://127.0.0.1:{port}", connect_timeout_s=20.0, clock=lambda: 0.0)
            for _ in range(5):
                both = [await pool.connect() for _ in range(2)]
                for connection in both:
                    connection.reusable = True  # as after an answer
                    pool.give_back(connection)
            await until(lambda: len(opened) == 10 and len(ended) >= 8)
            assert len(opened) - len(ended) == 2
            pool.close()
            await until(lambda: len(ended) == 10)
            await asyncio.gather(*(writer.wait_closed() for writer in ended))

    asyncio.run(run())


def test_a_router_without_files_does_not_take_its_instance_for_dead():
    async def run():
        pool = Pool("http://127.0.0.1:9", connect_timeout_s=20.0, clock=lambda: 0.0)
        with no_files(), pytest.raises(OutOfSockets, match="open files"):
            await pool.connect()

    asyncio.run(run())
