"""AWS on one port: moto behind a front that knows who calls, and enforces what their role allows."""
