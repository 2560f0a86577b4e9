"""The error bodies of the workspace's REST API: `error_code` and `message`, as databricks-sdk reads them."""

from __future__ import annotations

from aiohttp import web


class ApiError(Exception):
    """An answer that is an error; handlers raise it."""

    def __init__(self, status, code, message, *, headers=None):
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def response(self):
        body = {"error_code": self.code, "message": self.message}
        return web.json_response(body, status=self.status, headers=self.headers)


def missing(what):
    return ApiError(404, "RESOURCE_DOES_NOT_EXIST", what)


def invalid(what):
    return ApiError(400, "INVALID_PARAMETER_VALUE", what)


def denied(what):
    return ApiError(403, "PERMISSION_DENIED", what)
